"""Feature: execution-engine, Property 29: Crash recovery

A crash is told apart from every other failure, what was printed before it can still be read, and
the retry is a fresh attempt: new process, new folder, nothing of the crashed one.
The executor's part (saving the lines, asking for the retry) is tested with it.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_sop_provider.contract import ErrorType
from airflow_sop_provider.engine.failures import Evidence, classify
from airflow_sop_provider.engine.retries import RetryPolicy
from airflow_sop_provider.runtimes import AttemptSpec, LocalRuntime

CRASHES = st.one_of(
    st.integers(1, 64).map(lambda number: Evidence(signal=number)),
    st.integers(0, 255).filter(lambda c: c not in (65, 69, 75, 77, 78)).map(lambda code: Evidence(exit_code=code)),
    st.just(Evidence(details={"exit_known": False})),
)


@settings(max_examples=200)
@given(CRASHES, st.integers(1, 6), st.integers(0, 5))
def test_a_crash_is_retried_while_retries_remain(evidence: Evidence, attempt: int, max_retries: int) -> None:
    failure = classify(evidence)
    assert failure is not None
    assert failure.type is ErrorType.CRASH
    decision = RetryPolicy().decide(failure.type, attempt, max_retries)
    assert decision.action == ("retry" if attempt <= max_retries else "fail")


@pytest.mark.parametrize("number", [6, 9, 11, 15])
async def test_the_retry_finds_nothing_of_the_crash(tmp_path: Path, number: int) -> None:
    script = f"for n in 1 2 3; do echo line $n; done; ls -A; echo left > here; kill -{number} $$"
    runtime = LocalRuntime(tmp_path / "attempts")
    uids = set()
    for attempt in (1, 2):
        handle = await runtime.start(AttemptSpec(name=f"attempt-{attempt}", argv=("/bin/sh", "-c", script)))
        outcome = await runtime.wait(handle)
        assert (outcome.signal, outcome.exit_code) == (number, None)
        assert [line async for _, line in runtime.logs(handle, 0)] == ["line 1", "line 2", "line 3"]
        uids.add(handle.uid)
        await runtime.remove(handle)
    assert len(uids) == 2
    await runtime.close()
