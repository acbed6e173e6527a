"""Starting: once and only once, confined, with a clean environment; and what happens when it cannot be."""

from __future__ import annotations

import asyncio
import json
import os
import resource
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from airflow_sop_provider.contract import ErrorType
from airflow_sop_provider.runtimes import AttemptSpec, LocalRuntime, RuntimeStartError
from airflow_sop_provider.runtimes.base import ASSIGNMENT_FILE, FLEET_FILE
from airflow_sop_provider.runtimes.local_files import AttemptFolder
from airflow_sop_provider.runtimes.procfs import boot_id
from tests.runtimes.helpers import lines, open_descriptors, program, until

COUNT = "import sys, time; open(sys.argv[1], 'a').write('ran\\n'); time.sleep(float(sys.argv[2]))"
UNTIL_GO = """
import os, sys, time
open(sys.argv[1], "a").write("ran\\n")
while not os.path.exists(sys.argv[1] + ".go"): time.sleep(0.02)
"""


async def test_a_program_runs_and_its_end_is_told(runtime: LocalRuntime) -> None:
    handle = await runtime.start(program("print('hello'); raise SystemExit(69)", labels={"sop": "a"}))
    outcome = await runtime.wait(handle)
    assert (handle.state, handle.adopted, handle.labels) == ("running", False, {"sop": "a"})
    assert (outcome.exit_code, outcome.signal, outcome.verdict) == (69, None, None)
    assert outcome.started_at is not None
    assert outcome.ended_at is not None
    assert await lines(runtime, handle) == ["hello"]


async def test_a_step_that_names_an_image_is_refused_with_the_remedy(runtime: LocalRuntime) -> None:
    with pytest.raises(RuntimeStartError, match=r"image 'tool:1'.*\[sop\] runtime to kubernetes or docker") as caught:
        await runtime.start(program("print('ran')", image="tool:1"))
    assert caught.value.error_type is ErrorType.PERMANENT
    assert await runtime.find() == []


async def test_a_signal_is_told_as_a_signal(runtime: LocalRuntime) -> None:
    handle = await runtime.start(program("import os; os.kill(os.getpid(), 11)"))
    outcome = await runtime.wait(handle)
    assert (outcome.exit_code, outcome.signal) == (None, signal.SIGSEGV)
    assert not outcome.stopped


async def test_the_environment_is_clean(runtime: LocalRuntime, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW__DATABASE__SQL_ALCHEMY_CONN", "a-secret-of-the-parent")
    source = """
        import json, os, resource, signal
        print(json.dumps({
            "env": dict(os.environ), "cwd": os.getcwd(), "fds": os.listdir("/proc/self/fd"),
            "stdin": os.read(0, 10).decode(), "core": resource.getrlimit(resource.RLIMIT_CORE),
            "session": os.getsid(0) == os.getpid(), "umask": os.umask(0),
            "initial": open("/proc/self/environ").read(),
        }))
    """
    files = {ASSIGNMENT_FILE: b"{}", FLEET_FILE: b""}
    handle = await runtime.start(program(source, files=files, env={"MINE": "yes"}))
    seen = json.loads((await lines(runtime, handle))[0])
    folder = runtime.folder("attempt")
    assert "a-secret-of-the-parent" not in seen["initial"]
    allowed = {"PATH", "PYTHONPATH", "LD_LIBRARY_PATH", "TZ", "HOME", "TMPDIR", "LANG", "PYTHONUNBUFFERED", "MINE"}
    assert set(seen["env"]) <= allowed | {name for name in seen["env"] if name.startswith("SOP_")} | {"LC_CTYPE"}
    assert seen["env"]["SOP_STEP"] == str(folder / ASSIGNMENT_FILE)
    assert seen["env"]["SOP_FLEET"] == str(folder / FLEET_FILE)
    assert seen["env"]["SOP_VERDICT"] == str(folder / "verdict.json")
    assert (seen["env"]["HOME"], seen["cwd"]) == (str(folder), str(folder / "work"))
    assert (seen["stdin"], seen["core"], seen["session"], seen["umask"]) == ("", [0, 0], True, 0o077)
    assert folder.stat().st_mode & 0o777 == 0o700
    assert (folder / ASSIGNMENT_FILE).stat().st_mode & 0o777 == 0o600


async def test_an_open_file_of_the_starter_does_not_reach_the_program(runtime: LocalRuntime, tmp_path: Path) -> None:
    leaked = os.open(tmp_path / "private", os.O_RDWR | os.O_CREAT)
    os.set_inheritable(leaked, True)
    source = "import os; print([os.readlink(f'/proc/self/fd/{n}') for n in os.listdir('/proc/self/fd')[:-1]])"
    try:
        handle = await runtime.start(program(source))
        assert "private" not in (await lines(runtime, handle))[0]
    finally:
        os.close(leaked)


async def test_children_of_the_program_do_not_keep_the_lock(runtime: LocalRuntime) -> None:
    source = """
        import subprocess, sys
        code = "import os; print([os.readlink(f'/proc/self/fd/{n}') for n in os.listdir('/proc/self/fd')[:-1]])"
        print(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout)
    """
    handle = await runtime.start(program(source))
    assert "lock" not in (await lines(runtime, handle))[0]


async def test_starting_again_adopts(runtime: LocalRuntime, tmp_path: Path) -> None:
    spec = program(COUNT, str(tmp_path / "count"), "0.2")
    first = await runtime.start(spec)
    second = await runtime.start(spec)
    await runtime.wait(second)
    third = await runtime.start(spec)
    assert (first.adopted, second.adopted, third.adopted, third.state) == (False, True, True, "ended")
    assert first.uid == second.uid == third.uid
    assert (tmp_path / "count").read_text() == "ran\n"


async def test_many_starters_of_one_name_run_it_once(tmp_path: Path) -> None:
    runtimes = [LocalRuntime(tmp_path / "attempts") for _ in range(8)]
    spec = program(COUNT, str(tmp_path / "count"), "0.3")
    handles = await asyncio.gather(*(r.start(spec) for r in runtimes for _ in range(3)))
    outcomes = await asyncio.gather(*(r.wait(h) for r, h in zip(runtimes, handles[::3], strict=True)))
    assert len({h.uid for h in handles}) == 1
    assert all(o.signal is None for o in outcomes)
    assert (tmp_path / "count").read_text() == "ran\n"
    await asyncio.gather(*(r.close() for r in runtimes))


STARTER = """
    import asyncio, sys
    from pathlib import Path
    from airflow_sop_provider.runtimes import AttemptSpec, LocalRuntime
    async def main():
        runtime = LocalRuntime(Path(sys.argv[1]))
        argv = (sys.executable, "-I", "-S", "-c", sys.argv[2], *sys.argv[3:])
        handle = await runtime.start(AttemptSpec(name="attempt", argv=argv, labels={"step": "x"}))
        print(handle.uid, flush=True)
        await asyncio.sleep(1000)
    asyncio.run(main())
"""


def starter(root: Path, *arguments: str) -> subprocess.Popen[str]:
    argv = [sys.executable, "-c", textwrap.dedent(STARTER), str(root), *arguments]
    return subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.mark.parametrize("moment", ["when it has started", "at once", "in the middle"])
async def test_a_starter_killed_at_any_moment_leaves_an_attempt_that_runs_once(
    runtime: LocalRuntime, tmp_path: Path, moment: str
) -> None:
    with starter(runtime.root, UNTIL_GO, str(tmp_path / "count")) as process:
        if moment == "when it has started":
            assert process.stdout is not None
            await asyncio.to_thread(process.stdout.readline)
        elif moment == "in the middle":
            await until(runtime.root.exists)
        process.kill()
    found = await runtime.find()
    handle = await runtime.start(program(UNTIL_GO, str(tmp_path / "count"), labels={"step": "x"}))
    (tmp_path / "count.go").touch()
    outcome = await runtime.wait(handle)
    assert (tmp_path / "count").read_text() == "ran\n"
    assert outcome.exit_code in (0, None)
    assert outcome.signal is None
    if moment == "when it has started":
        assert [(h.name, h.state, h.labels) for h in found] == [("attempt", "running", {"step": "x"})]
        assert handle.adopted
        assert outcome.usage is not None


async def test_an_attempt_ended_while_nobody_looked_is_over(runtime: LocalRuntime, tmp_path: Path) -> None:
    source = """
        import os, sys
        open(os.environ["SOP_VERDICT"], "w").write('{"status": "succeeded", "outputs": 7}')
    """
    with starter(runtime.root, textwrap.dedent(source)) as process:
        await until((runtime.folder("attempt") / "verdict.json").exists)
        process.kill()
    handle = (await runtime.find())[0]
    outcome = await runtime.wait(handle)
    assert outcome.verdict is not None
    assert outcome.verdict.outputs == 7


async def test_an_attempt_of_an_earlier_boot_is_over(runtime: LocalRuntime) -> None:
    handle = await runtime.start(program("import time; time.sleep(100)"))
    await runtime.stop(handle, grace=0)
    await runtime.close()
    marker = runtime.folder("attempt") / "started"
    _, start, _, wall = marker.read_text().split()
    marker.write_text(f"{os.getpid()} {start} {'0' * 36} {wall}\n")
    (runtime.folder("attempt") / "killed.json").unlink()
    (runtime.folder("attempt") / "exit.json").unlink()
    again = LocalRuntime(runtime.root)
    outcome = await again.wait((await again.find())[0])
    assert outcome.evidence["rebooted"] is True
    assert (outcome.exit_code, outcome.signal) == (None, None)
    await again.close()


async def test_a_pid_that_was_reused_is_not_the_attempt(runtime: LocalRuntime, tmp_path: Path) -> None:
    other = await asyncio.create_subprocess_exec("sleep", "100", start_new_session=True)
    folder = AttemptFolder(runtime.folder("attempt"))
    folder.create(program("pass"))
    (folder.path / "started").write_text(f"{other.pid} 1 {boot_id()} 1.0\n")
    handle = (await runtime.find())[0]
    assert handle.state == "ended"
    await runtime.wait(handle)
    await runtime.stop(handle, grace=0)
    assert other.returncode is None
    other.kill()
    await other.wait()


async def test_a_starter_whose_entry_program_is_ended_with_the_attempt_adopts_it(
    runtime: LocalRuntime, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A slow second starter: by the time its entry program gets on, the attempt is over and clears up after itself."""
    slow = tmp_path / "python"
    slow.write_text(f"#!/bin/sh\ntouch {tmp_path}/second; while ! [ -e {tmp_path}/go ]; do sleep 0.02; done\n")
    slow.chmod(0o700)
    second = LocalRuntime(runtime.root)
    monkeypatch.setattr(sys, "executable", str(slow))
    late = asyncio.create_task(second.start(program("pass")))
    await until((tmp_path / "second").exists)
    monkeypatch.undo()
    handle = await runtime.start(program("pass"))
    outcome = await runtime.wait(handle)
    adopted = await late
    assert (adopted.uid, adopted.adopted) == (handle.uid, True)
    assert outcome.evidence["leftovers_ended"] >= 1
    await second.close()


async def test_a_program_that_does_not_exist_is_told(runtime: LocalRuntime) -> None:
    handle = await runtime.start(AttemptSpec(name="attempt", argv=("/no/such/program",)))
    outcome = await runtime.wait(handle)
    assert outcome.exit_code == 127
    assert "cannot execute '/no/such/program'" in outcome.evidence["exec_error"]
    assert "cannot execute" in (await lines(runtime, handle))[0]


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        (AttemptSpec(name="../up", argv=("true",)), "DNS label"),
        (AttemptSpec(name="a", argv=()), "`argv` is empty"),
        (AttemptSpec(name="a", argv=("a\0b",)), "NUL"),
        (AttemptSpec(name="a", argv=("true",), env={"A": "\0"}), "NUL"),
        (AttemptSpec(name="a", argv=("true",), env={"A=B": ""}), "`env`"),
        (AttemptSpec(name="a", argv=("true",), files={"../x": b""}), "`files`"),
        (AttemptSpec(name="a", argv=("true",), files={"lock": b""}), "`files`"),
    ],
)
async def test_what_could_never_start_is_refused(runtime: LocalRuntime, spec: AttemptSpec, words: str) -> None:
    with pytest.raises(RuntimeStartError, match=words) as caught:
        await runtime.start(spec)
    assert caught.value.error_type is ErrorType.PERMANENT
    assert await runtime.find() == []


async def test_arguments_too_large_for_the_kernel_fail_for_good(runtime: LocalRuntime) -> None:
    with pytest.raises(RuntimeStartError) as caught:
        await runtime.start(program("pass", "x" * 200_000))
    assert caught.value.error_type is ErrorType.PERMANENT
    assert caught.value.evidence["errno"] == "E2BIG"


@pytest.fixture
def full_disk():
    """A file of at most 0 bytes: what a full disk is to a writer, for this process and its children."""
    previous = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)

    def full(on: bool) -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (0 if on else previous[0], previous[1]))

    yield full
    full(False)
    signal.signal(signal.SIGXFSZ, handler)


async def test_a_full_disk_leaves_nothing_behind(runtime: LocalRuntime, full_disk, tmp_path: Path) -> None:
    spec = program(COUNT, str(tmp_path / "count"), "0")
    full_disk(True)
    with pytest.raises(RuntimeStartError) as caught:
        await runtime.start(spec)
    full_disk(False)
    assert caught.value.error_type is ErrorType.TRANSIENT
    assert caught.value.evidence["errno"] == "EFBIG"
    assert list(runtime.root.iterdir()) == []
    await runtime.wait(await runtime.start(spec))
    assert (tmp_path / "count").read_text() == "ran\n"


async def test_a_disk_full_in_the_entry_program_does_not_look_started(
    runtime: LocalRuntime, full_disk, tmp_path: Path
) -> None:
    spec = program(COUNT, str(tmp_path / "count"), "0")
    AttemptFolder(runtime.folder("attempt")).create(spec)
    full_disk(True)
    with pytest.raises(RuntimeStartError) as caught:
        await runtime.start(spec)
    full_disk(False)
    assert caught.value.error_type is ErrorType.TRANSIENT
    assert [h.state for h in await runtime.find()] == ["created"]
    assert not (tmp_path / "count").exists()
    await runtime.wait(await runtime.start(spec))
    assert (tmp_path / "count").read_text() == "ran\n"


async def test_a_cancelled_starter_does_not_lose_the_process(runtime: LocalRuntime, tmp_path: Path) -> None:
    spec = program(COUNT, str(tmp_path / "count"), "0.1")
    task = asyncio.create_task(runtime.start(spec))
    await asyncio.sleep(0)
    task.cancel()
    handle = await runtime.start(spec)
    await runtime.wait(handle)
    assert (tmp_path / "count").read_text() == "ran\n"


@pytest.mark.slow
async def test_a_hundred_at_once(runtime: LocalRuntime, tmp_path: Path) -> None:
    before = open_descriptors()
    specs = [program(COUNT, str(tmp_path / f"{n}"), "0.2", name=f"attempt-{n}") for n in range(100)]
    handles = await asyncio.gather(*(runtime.start(s) for s in specs))
    outcomes = await asyncio.gather(*(runtime.wait(h) for h in handles))
    assert [o.exit_code for o in outcomes] == [0] * 100
    assert all((tmp_path / f"{n}").read_text() == "ran\n" for n in range(100))
    await asyncio.gather(*(runtime.remove(h) for h in handles))
    assert await runtime.find() == []
    assert list(runtime.root.iterdir()) == []
    assert open_descriptors() <= before + 2  # the loop's own
