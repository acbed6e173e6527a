"""Texts made to hurt: bombs, depth, size, odd bytes. Each ends in a problem, in bounded memory."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import pytest

from airflow_sop_provider.sop import SopError, check_file, check_text, load_sop
from tests.sop.helpers import BASE

MIB = 1024 * 1024
BOMB = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{name}: &{name} [{','.join([f'*{before}'] * 9)}]\n" for before, name in zip("abcdefgh", "bcdefghi", strict=True)
)


@pytest.mark.parametrize(
    ("text", "code"),
    {
        "alias bomb": (BOMB, "too-many-values"),
        "mapping bomb": (BOMB.replace("[", "{k: [").replace("]", "]}"), "too-many-values"),
        "recursive alias": ("a: &a [*a]", "recursive-alias"),
        "deep lists": ("a: " + "[" * 100_000, "too-deep"),
        "deep mappings": ("{a: " * 100_000, "too-deep"),
        "deep dashes": ("- " * 50_000, "too-deep"),
        "deep indentation": ("".join(" " * n + "a:\n" for n in range(1000)), "too-deep"),
        "many values": ("a: [" + "1," * 30_000 + "]", "too-many-values"),
        "many keys": ("".join(f"k{n}: 1\n" for n in range(21_000)), "too-many-values"),
        "many anchors": ("a: [" + "".join(f"&a{n} x," for n in range(21_000)) + "]", "too-many-values"),
        "empty": ("", "empty-file"),
        "comments only": ("# nothing\n\n", "empty-file"),
        "a list": ("- a\n", "wrong-type"),
        "a word": ("word", "wrong-type"),
        "two documents": (BASE + "---\n" + BASE, "multiple-documents"),
        "control character": ("sop: a\x01", "yaml-syntax"),
        "surrogate": ("sop: a\ud800", "yaml-syntax"),
        "endless quote": ('sop: "' + "x" * 100_000, "yaml-syntax"),
        "too large": ("# " + "x" * MIB, "file-too-large"),
    }.values(),
)
def test_hostile_text_ends_in_a_problem_within_bounds(text: str, code: str):
    problems = check_text(text).problems
    assert code in [problem.code for problem in problems], [problem.render() for problem in problems]


@pytest.mark.parametrize("text", [BOMB, "a: " + "[" * 1_000_000, "{a: " * 250_000, "# " + "x" * MIB])
def test_hostile_text_takes_little_memory(text: str):
    tracemalloc.start()
    try:
        assert check_text(text).problems
        assert tracemalloc.get_traced_memory()[1] < 20 * MIB
    finally:
        tracemalloc.stop()


def test_aliases_within_bounds_are_fine():
    text = BASE.replace("inputs:", "resources: &r {cpu: 250m}\ninputs:").replace(
        "    tool: crm.put", "    resources: *r\n    tool: crm.put"
    )
    assert check_text(text).unwrap().sop.step("each").resources.cpu == "250m"


@pytest.mark.parametrize(
    ("content", "code", "line", "column"),
    [
        (b"sop: a\ntitle: \xff\n", "not-utf-8", 2, 8),
        (BASE.encode("utf-16"), "not-utf-8", 1, 1),
        (b"x" * (10 * MIB), "file-too-large", 1, 1),
        (b"\x00" * 100, "yaml-syntax", 1, 1),
        (b"", "empty-file", 1, 1),
    ],
)
def test_odd_bytes(tmp_path: Path, content: bytes, code: str, line: int, column: int):
    path = tmp_path / "x.yaml"
    path.write_bytes(content)
    problem = check_file(path).problems[0]
    assert (problem.code, problem.line, problem.column) == (code, line, column)


def test_a_byte_order_mark_is_no_mistake(tmp_path: Path):
    path = tmp_path / "x.yaml"
    path.write_bytes(b"\xef\xbb\xbf" + BASE.replace("\n", "\r\n").encode())
    assert load_sop(path).sop.sop == "base"


def test_what_is_no_file_is_refused(tmp_path: Path):
    import os

    os.mkfifo(tmp_path / "pipe.yaml")
    assert check_file(tmp_path / "pipe.yaml").problems[0].code == "not-a-file"
    assert check_file(tmp_path / "missing.yaml").problems[0].code == "unreadable"
    assert check_file(tmp_path).problems[0].code == "unreadable"
    with pytest.raises(SopError, match=r"missing.yaml:1:1: error\[unreadable\]"):
        load_sop(tmp_path / "missing.yaml")


def test_many_mistakes_are_cut_off():
    steps = "".join(f"- {{id: s{n}, needs: [t{n}], tool: a.b, x{n}: '{{{{ inputs.y }}}}'}}\n" for n in range(900))
    problems = check_text(f"sop: a\nversion: v1\ntitle: t\nsteps:\n{steps}").problems
    assert 100 <= len(problems) <= 300


def test_a_file_drives_no_terminal():
    problem = check_text('sop: a\n"\x1b[31m\\e[2Jx": 1\n', "x\x1b.yaml").problems
    assert all("\x1b" not in found.render() for found in problem)
    assert "\x1b[31m" in problem[0].render(colour=True)


def test_the_caret_stands_under_wide_characters_and_long_lines():
    text = BASE.replace("title: Base", "owner: {日本: " + "x" * 300 + ", b: 1}")
    problem = next(found for found in check_text(text).problems if found.code == "wrong-type")
    assert len(max(problem.render().split("\n"), key=len)) < 200
    tabs = check_text("sop: a\nversion:\t\t2.1\ntitle: 日本\n").problems
    assert tabs[1].render().split("\n")[1].index("2.1") == tabs[1].render().split("\n")[2].index("^")
