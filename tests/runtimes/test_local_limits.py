"""Memory, time, stopping, and what a program leaves running."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

import pytest

from airflow_sop_provider.contract import ErrorType
from airflow_sop_provider.engine.failures import classify
from airflow_sop_provider.runtimes import LocalRuntime, RuntimeStateError
from airflow_sop_provider.runtimes.local_monitor import resident_floor
from tests.runtimes.helpers import alive, descriptors, lines, pid_in, program, until

MB = 1024 * 1024
IGNORE_TERM = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('ready', flush=True); "
DAEMON = """
    import os, sys, time
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            open(sys.argv[1] + ".new", "w").write(str(os.getpid()))
            os.rename(sys.argv[1] + ".new", sys.argv[1])
            time.sleep(1000)
        os._exit(0)
    os.wait()
    print("ready", flush=True)
    time.sleep(float(sys.argv[2]))
"""


async def ready(runtime: LocalRuntime) -> None:
    await until(lambda: "ready" in (runtime.folder("attempt") / "output.log").read_text())


async def test_a_program_over_its_memory_is_ended(runtime: LocalRuntime) -> None:
    source = "import time; kept = b'x' * (150 * 1024 * 1024); print('ready', flush=True); time.sleep(100)"
    outcome = await runtime.wait(await runtime.start(program(source, memory_bytes=100 * MB)))
    assert outcome.oom
    assert outcome.signal == signal.SIGKILL
    assert outcome.evidence["killed"]["reason"] == "memory"
    assert outcome.evidence["killed"]["used_bytes"] > 100 * MB
    assert outcome.usage is not None
    assert (outcome.usage.peak_memory_bytes or 0) > 100 * MB
    failure = classify(outcome)
    assert failure is not None
    assert (failure.type, failure.scarce) == (ErrorType.RESOURCE, "memory")


async def test_memory_of_all_processes_counts_together(runtime: LocalRuntime) -> None:
    source = """
        import os, time
        for n in range(6):
            if os.fork() == 0:
                if n % 2: os.setsid()
                kept = os.urandom(30 * 1024 * 1024)
                time.sleep(100)
        time.sleep(100)
    """
    outcome = await runtime.wait(await runtime.start(program(source, memory_bytes=100 * MB)))
    assert outcome.oom
    assert outcome.evidence["killed"]["processes"] > 1


async def test_shared_memory_counts_once(runtime: LocalRuntime, tmp_path: Path) -> None:
    source = """
        import os, sys, time
        kept = b"x" * (60 * 1024 * 1024)
        for n in range(4):
            if os.fork() == 0:
                while not os.path.exists(sys.argv[1]): time.sleep(0.05)
                os._exit(0)
        print("ready", flush=True)
        for n in range(4): os.wait()
    """
    enough = tmp_path / "enough"
    over = asyncio.create_task(runtime.wait(await runtime.start(program(source, str(enough), memory_bytes=120 * MB))))
    await ready(runtime)
    (watched,) = runtime._monitor._running
    watched.peak_bytes = 0  # what counts is a look at all five of them
    await until(lambda: over.done() or watched.peak_bytes > 60 * MB)
    enough.touch()
    outcome = await over
    assert (outcome.exit_code, outcome.oom) == (0, False)
    assert outcome.usage is not None
    assert 60 * MB < (outcome.usage.peak_memory_bytes or 0) < 120 * MB


async def test_a_program_faster_than_the_monitor_meets_the_backstop(tmp_path: Path) -> None:
    runtime = LocalRuntime(tmp_path, interval=60)
    outcome = await runtime.wait(await runtime.start(program("kept = bytearray(3 * 1024 ** 3)", memory_bytes=64 * MB)))
    assert outcome.exit_code == 1
    assert any("MemoryError" in line for line in await lines(runtime, (await runtime.find())[0]))
    await runtime.close()


async def test_a_failure_over_the_limit_between_two_looks_is_seen_afterwards(tmp_path: Path) -> None:
    runtime = LocalRuntime(tmp_path, interval=60)
    limit = max(
        400 * MB, resident_floor() + 50 * MB
    )  # below what this process used at most, a child's peak says nothing
    source = f"kept = b'x' * {limit + 200 * MB}; raise SystemExit(1)"
    outcome = await runtime.wait(await runtime.start(program(source, memory_bytes=limit)))
    assert outcome.oom
    assert outcome.evidence["memory"]["peak_bytes"] > limit
    await runtime.close()


async def test_a_program_over_its_time_is_ended(runtime: LocalRuntime) -> None:
    source = IGNORE_TERM + "time.sleep(100)"
    outcome = await runtime.wait(await runtime.start(program(source, timeout_seconds=0.3)))
    assert outcome.timed_out
    assert outcome.signal == signal.SIGKILL
    assert outcome.evidence["killed"]["limit_seconds"] == 0.3
    failure = classify(outcome)
    assert failure is not None
    assert (failure.type, failure.scarce) == (ErrorType.RESOURCE, "time")


async def test_limits_hold_after_adoption(runtime: LocalRuntime) -> None:
    handle = await runtime.start(program("import time; time.sleep(100)", timeout_seconds=0.6))
    await runtime.close()
    again = LocalRuntime(runtime.root, interval=0.05, kill_grace=0.3)
    found = (await again.find())[0]
    assert (found.uid, found.state) == (handle.uid, "running")
    outcome = await again.wait(found)
    assert outcome.timed_out
    assert classify(outcome) is not None
    await again.close()


async def test_why_it_was_ended_is_known_to_a_later_runtime(runtime: LocalRuntime) -> None:
    handle = await runtime.start(program("import time; time.sleep(100)", timeout_seconds=0.1))
    first = await runtime.wait(handle)
    again = LocalRuntime(runtime.root)
    later = await again.wait((await again.find())[0])
    assert later.timed_out
    assert (later.exit_code, later.signal, later.ended_at) == (first.exit_code, first.signal, first.ended_at)
    await again.close()


async def test_stop_lets_a_program_end_by_itself(runtime: LocalRuntime) -> None:
    source = """
        import signal, sys, time
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(75))
        print("ready", flush=True)
        time.sleep(100)
    """
    handle = await runtime.start(program(source))
    await ready(runtime)
    await runtime.stop(handle, grace=60)
    outcome = await runtime.wait(handle)
    assert (outcome.exit_code, outcome.stopped) == (75, True)


async def test_stop_ends_a_program_that_ignores_it(runtime: LocalRuntime) -> None:
    handle = await runtime.start(program(IGNORE_TERM + "time.sleep(1000)"))
    await ready(runtime)
    await runtime.stop(handle, grace=0.1)
    outcome = await runtime.wait(handle)
    assert (outcome.signal, outcome.stopped) == (signal.SIGKILL, True)


async def test_stop_ends_a_daemon_too(runtime: LocalRuntime, tmp_path: Path) -> None:
    handle = await runtime.start(program(DAEMON, str(tmp_path / "pid"), "1000"))
    await ready(runtime)
    daemon = pid_in(tmp_path / "pid")
    assert os.getsid(daemon) != os.getsid(int(handle.uid.split(":")[1]))
    await runtime.stop(handle, grace=5)
    assert not alive(daemon)


async def test_what_a_program_leaves_running_is_ended(runtime: LocalRuntime, tmp_path: Path) -> None:
    handle = await runtime.start(program(DAEMON, str(tmp_path / "pid"), "0"))
    outcome = await runtime.wait(handle)
    assert outcome.exit_code == 0
    assert outcome.evidence["leftovers_ended"] == 1
    assert not alive(pid_in(tmp_path / "pid"))


async def test_a_shell_child_that_keeps_the_lock_is_ended(runtime: LocalRuntime, tmp_path: Path) -> None:
    source = """
        import os, sys
        pid = os.fork()  # keeps every descriptor, the lock too
        if pid == 0: __import__("time").sleep(1000)
        open(sys.argv[1], "w").write(str(pid))
    """
    handle = await runtime.start(program(source, str(tmp_path / "pid")))
    await runtime.wait(handle)
    assert not alive(pid_in(tmp_path / "pid"))
    await runtime.remove(handle)


async def test_leftovers_of_an_attempt_that_nobody_watched_are_ended(runtime: LocalRuntime, tmp_path: Path) -> None:
    handle = await runtime.start(program(DAEMON, str(tmp_path / "pid"), "0.3"))
    await runtime.close()
    main = int(handle.uid.split(":")[1])
    await until(lambda: pid_in(tmp_path / "pid") and not alive(main))
    again = LocalRuntime(runtime.root)
    await again.wait((await again.find())[0])
    assert not alive(pid_in(tmp_path / "pid"))
    await again.close()


@pytest.mark.slow
async def test_a_fork_storm_is_ended(runtime: LocalRuntime) -> None:
    source = """
        import os, time
        for depth in range(6):
            os.fork()
            if depth % 2: os.setsid() if os.getsid(0) != os.getpid() and os.getpgid(0) != os.getpid() else None
        print("ready", flush=True)
        while True:
            if os.fork() == 0: time.sleep(0.05); os._exit(0)
            try:
                while os.waitpid(-1, os.WNOHANG)[0]: pass
            except ChildProcessError: pass
            time.sleep(0.02)
    """
    handle = await runtime.start(program(source))
    await ready(runtime)
    await runtime.stop(handle, grace=0.05)
    mark = f"SOP_ATTEMPT={runtime.folder('attempt')}".encode()

    def marked(pid: str) -> bool:
        try:
            return mark in Path(f"/proc/{pid}/environ").read_bytes() and alive(int(pid))
        except OSError:
            return False

    assert [pid for pid in os.listdir("/proc") if pid.isdecimal() and marked(pid)] == []


async def test_stop_spares_everyone_else(runtime: LocalRuntime) -> None:
    bystander = await asyncio.create_subprocess_exec("sleep", "1000")
    handle = await runtime.start(program("import time; time.sleep(100)"))
    other = await runtime.start(program("import time; time.sleep(100)", name="other"))
    await runtime.stop(handle, grace=0)
    assert bystander.returncode is None
    assert alive(int(other.uid.split(":")[1]))
    bystander.kill()
    await bystander.wait()


async def test_stop_of_what_is_over_or_never_was_is_no_error(runtime: LocalRuntime) -> None:
    handle = await runtime.start(program("pass"))
    await runtime.wait(handle)
    await runtime.stop(handle, grace=1)
    await runtime.remove(handle)
    await runtime.stop(handle, grace=1)
    await runtime.remove(handle)
    with pytest.raises(RuntimeStateError, match="start it first"):
        await runtime.wait(handle)


async def test_a_running_attempt_is_not_removed(runtime: LocalRuntime) -> None:
    handle = await runtime.start(program("import time; time.sleep(100)"))
    with pytest.raises(RuntimeStateError, match="still runs"):
        await runtime.remove(handle)
    await runtime.close()
    again = LocalRuntime(runtime.root)
    with pytest.raises(RuntimeStateError, match="still runs"):
        await again.remove(handle)
    await again.stop(handle, grace=0)
    await again.remove(handle)
    assert not again.folder("attempt").exists()
    await again.close()


@pytest.mark.parametrize(
    ("text", "status", "problem"),
    [
        ('{"status": "skipped", "reason": "no"}', "skipped", None),
        ('{"status": "nonsense"}', None, "verdict.json: status"),
        ('{"status": "succ', None, "verdict.json"),
        ("[" * 100_000, None, "verdict.json"),
        ('{"status": "succeeded", "usage": {"gpu_seconds": 1}}', None, "verdict.json: usage.gpu_seconds: Extra inputs"),
        ("", None, None),
    ],
)
async def test_a_verdict_is_read_whatever_it_is(
    runtime: LocalRuntime, text: str, status: str | None, problem: str | None
) -> None:
    source = "import os, sys; open(os.environ['SOP_VERDICT'], 'w').write(open(os.environ['SOP_STEP']).read())"
    handle = await runtime.start(program(source, files={"assignment.json": text.encode()}))
    outcome = await runtime.wait(handle)
    assert (outcome.verdict.status if outcome.verdict else None) == status
    if problem is None:
        assert "verdict_problem" not in outcome.evidence
    else:
        assert outcome.evidence["verdict_problem"].startswith(problem)
        assert problem in classify(outcome).message


async def test_the_shortened_copy_serves_where_the_verdict_is_broken(runtime: LocalRuntime) -> None:
    source = """
        import os
        open(os.environ["SOP_VERDICT"], "w").write("{")
        open(os.environ["SOP_TERMINATION_LOG"], "w").write('{"status": "failed", "usage": {"cpu_seconds": 3}}')
    """
    outcome = await runtime.wait(await runtime.start(program(source)))
    assert outcome.verdict is not None
    assert outcome.verdict.status == "failed"
    assert outcome.usage is not None
    assert outcome.usage.cpu_seconds == 3
    assert outcome.usage.wall_seconds is not None


async def test_a_verdict_that_is_a_link_elsewhere_is_not_followed(runtime: LocalRuntime, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").write_text('{"status": "succeeded"}')
    source = "import os, sys; os.symlink(sys.argv[1], os.environ['SOP_VERDICT'])"
    outcome = await runtime.wait(await runtime.start(program(source, str(tmp_path / "elsewhere"))))
    assert outcome.verdict is None


async def test_closing_frees_everything_and_ends_nothing(runtime: LocalRuntime, tmp_path: Path) -> None:
    # what a process opens once, it has opened after the first attempt
    first = LocalRuntime(tmp_path / "first", interval=0.05)
    await first.wait(await first.start(program("")))
    await first.close()
    before = descriptors()
    handle = await runtime.start(program("import time; time.sleep(100)"))
    waiting = asyncio.create_task(runtime.wait(handle))
    await asyncio.sleep(0)
    await runtime.close()
    for _ in range(600):  # what the loop closes, it closes in its next turns
        after = descriptors()
        if len(after) <= len(before):
            break
        await asyncio.sleep(0.05)
    assert len(after) <= len(before), after.items() - before.items()
    assert alive(int(handle.uid.split(":")[1]))
    with pytest.raises(asyncio.CancelledError):
        await waiting
