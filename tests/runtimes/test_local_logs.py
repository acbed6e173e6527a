"""Logs: complete to the last line, each line once, from any offset."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_sop_provider.runtimes import LocalRuntime
from airflow_sop_provider.runtimes.log_lines import LINE_LIMIT, LogWatch, split_lines
from tests.runtimes.helpers import lines, program

CONTENT = st.lists(
    st.one_of(
        st.sampled_from([b"\n", b"line\n", "häßlich €\n".encode(), b"\xff\xfe\n", b"rest", b"\r\n"]),
        st.integers(LINE_LIMIT - 3, 2 * LINE_LIMIT + 3).map(lambda n: b"x" * n),
        st.integers(LINE_LIMIT // 3 - 2, LINE_LIMIT // 3 + 2).map(lambda n: "€".encode() * n),
        st.binary(max_size=40),
    ),
    max_size=12,
).map(b"".join)


@given(CONTENT, st.data())
def test_every_split_is_the_same_wherever_reading_is_resumed(content: bytes, data: st.DataObject) -> None:
    whole = list(split_lines(content, final=True))
    offsets = [0, *(offset for offset, _ in whole)]
    start = data.draw(st.sampled_from(offsets))
    seen = data.draw(st.integers(start, len(content)))
    first = [(start + o, line) for o, line in split_lines(content[start:seen], final=False)]
    middle = first[-1][0] if first else start
    second = [(middle + o, line) for o, line in split_lines(content[middle:], final=True)]
    assert first + second == [item for item in whole if item[0] > start]
    assert offsets[-1] == len(content)


@given(CONTENT)
def test_no_byte_is_lost_and_no_character_cut(content: bytes) -> None:
    begin, lengths = 0, []
    for offset, line in split_lines(content, final=True):
        piece = content[begin:offset]
        assert piece.removesuffix(b"\n").decode(errors="replace") == line
        lengths.append(len(piece))
        begin = offset
    assert begin == len(content)
    assert max(lengths, default=0) <= LINE_LIMIT + 1
    try:
        whole = content.decode()
    except UnicodeDecodeError:
        return
    assert "".join(line for _, line in split_lines(content, final=True)) == whole.replace("\n", "")


def test_a_line_of_exactly_the_limit_is_one_line() -> None:
    assert [line for _, line in split_lines(b"x" * LINE_LIMIT + b"\n", final=True)] == ["x" * LINE_LIMIT]
    assert [len(line) for _, line in split_lines(b"x" * (LINE_LIMIT + 1), final=True)] == [LINE_LIMIT, 1]


async def collect(path: Path, offset: int, over: asyncio.Future[Any]) -> list[tuple[int, str]]:
    return [item async for item in LogWatch(0.02).follow(path, offset, over)]


async def test_a_file_that_grows_is_followed_to_its_end(tmp_path: Path) -> None:
    path = tmp_path / "log"
    over: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
    task = asyncio.create_task(collect(path, 0, over))
    await asyncio.sleep(0)
    for piece in (b"first\nsec", b"ond\nthird"):
        with path.open("ab") as file:
            file.write(piece)
        await asyncio.sleep(0.08)
    over.set_result(None)
    assert await task == [(6, "first"), (13, "second"), (18, "third")]
    assert await collect(path, 13, over) == [(18, "third")]
    assert await collect(path, 8, over) == [(13, "cond"), (18, "third")]
    assert await collect(path, 1000, over) == []


async def test_nothing_incomplete_is_handed_out_when_watching_ends(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(b"first\nsec")
    over: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
    task = asyncio.create_task(collect(path, 0, over))
    await asyncio.sleep(0.05)
    over.cancel()
    assert await task == [(6, "first")]


async def test_a_program_that_ends_at_once_is_read_to_the_last_line(runtime: LocalRuntime) -> None:
    for n in range(5):
        source = "import sys; sys.stderr.write('error\\n'); sys.stdout.write('no newline')"
        handle = await runtime.start(program(source, name=f"attempt-{n}"))
        assert sorted(await lines(runtime, handle)) == ["error", "no newline"]


async def test_a_hundred_thousand_lines(runtime: LocalRuntime) -> None:
    handle = await runtime.start(program("for n in range(100_000): print('line', n)"))
    assert await lines(runtime, handle) == [f"line {n}" for n in range(100_000)]


async def test_a_resumed_reader_gets_each_line_once(runtime: LocalRuntime) -> None:
    source = "import time\nfor n in range(60): print(n, 'ä' * n, flush=True); time.sleep(0.005)"
    handle = await runtime.start(program(source))
    seen, offset = [], 0
    while len(seen) < 60:
        before = len(seen)
        async for after, line in runtime.logs(handle, offset):
            seen.append(line)
            offset = after
            if len(seen) % 7 == 0:
                break
        assert len(seen) > before
    assert seen == [f"{n} {'ä' * n}" for n in range(60)]
    assert await lines(runtime, handle, offset) == []


@pytest.mark.parametrize("count", [1, 3])
async def test_several_readers_do_not_disturb_each_other(runtime: LocalRuntime, count: int) -> None:
    handle = await runtime.start(program("for n in range(100): print(n)"))
    read = await asyncio.gather(*(lines(runtime, handle) for _ in range(count)))
    assert read == [[str(n) for n in range(100)]] * count
