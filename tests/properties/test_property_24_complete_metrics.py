"""Feature: execution-engine, Property 24: Complete metrics

Whatever ran, and for any window: every figure equals one that is computed from the generated facts alone.
"""

from __future__ import annotations

from datetime import timedelta
from statistics import fmean

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import StaticPool, create_engine
from sqlalchemy.orm import Session

from airflow_sop_provider.contract.verdict import Usage
from airflow_sop_provider.engine.execution_state import ExecutionStatus
from airflow_sop_provider.store.attempts import AttemptBegin, AttemptEnd, begin_attempt, end_attempt
from airflow_sop_provider.store.executions import close_execution, open_execution
from airflow_sop_provider.store.metrics import metrics_of
from airflow_sop_provider.store.tables import metadata
from tests.store.facts import SUBMITTED, attempt_key, context_of, run_facts

pytestmark = pytest.mark.slow

SOP = "software-licence-review"
END = st.sampled_from(["COMPLETED", "FAILED", "CANCELLED", "PARTIALLY_COMPLETED"])
RUN = st.fixed_dictionaries({
    "began": st.none() | st.integers(0, 100), "seconds": st.none() | st.integers(1, 200), "end": END,
    "control": st.sampled_from(["A", "B"]), "cpu": st.integers(0, 9), "memory": st.integers(1, 9),
    "error": st.sampled_from([None, "transient", "crash"]),
})  # fmt: skip


@settings(max_examples=100, deadline=None)
@given(runs=st.lists(RUN, max_size=8), since=st.integers(0, 150), length=st.integers(1, 200))
def test_every_figure_is_right_for_any_window(runs, since, length):
    engine = create_engine("sqlite://", poolclass=StaticPool)
    metadata.create_all(engine)
    until = since + length
    with Session(engine) as session:
        for number, run in enumerate(runs):
            store(session, f"r{number}", run)
        got = metrics_of(session, {SOP}, at(since), at(until))
        assert metrics_of(session, {"another"}, at(since), at(until)).counts["total"] == 0
    engine.dispose()
    over = [run for run in runs if ended(run) is not None]
    inside = [run for run in over if since <= ended(run) < until]
    there = [run for run in runs if ended(run) is None or ended(run) >= since]
    assert got.counts["total"] == len(there)
    assert got.counts["running"] == sum(run["began"] is not None and ended(run) is None for run in runs)
    for name in ("COMPLETED", "FAILED", "CANCELLED", "PARTIALLY_COMPLETED"):
        assert got.counts[name.lower()] == sum(run["end"] == name and ended(run) is not None for run in there)
    assert got.queue_depth == sum(run["began"] is None for run in runs)
    done = sum(run["end"] == "COMPLETED" for run in inside)
    assert got.success_rate == (pytest.approx(done / len(inside)) if inside else None)
    check(got.durations, [run["seconds"] for run in inside])
    for control in {run["control"] for run in inside}:
        own = [run["end"] == "COMPLETED" for run in inside if run["control"] == control]
        assert (got.by_control[control].ended, got.by_control[control].success_rate) == (len(own), fmean(own))
        check(got.by_control[control], [run["seconds"] for run in inside if run["control"] == control])
    check(got.by_mode.get("system_design", got.durations), [run["seconds"] for run in inside])
    assert [one.success_rate for one in got.by_mode.values()] == ([got.success_rate] if inside else [])
    assert got.attempts == len(inside)
    assert got.cpu_seconds == sum(run["cpu"] for run in inside)
    assert got.network_received_bytes == sum(run["cpu"] for run in inside)
    assert got.network_sent_bytes == 2 * sum(run["cpu"] for run in inside)
    assert got.peak_memory_bytes == max((run["memory"] for run in inside), default=None)
    for kind in ("transient", "crash"):
        assert got.errors.get(kind, 0) == sum(run["error"] == kind for run in inside)
        assert got.error_rate.get(kind, 0) * max(1, len(inside)) == pytest.approx(got.errors.get(kind, 0))


def at(seconds):
    return SUBMITTED + timedelta(seconds=seconds)


def ended(run):
    return None if run["began"] is None or run["seconds"] is None else run["began"] + run["seconds"]


def check(got, seconds):
    """Count, mean, and percentiles by their definition: the smallest value that so many per cent do not exceed."""
    assert got.count == len(seconds)
    assert got.mean == (pytest.approx(fmean(seconds)) if seconds else None)
    for percent, value in ((95, got.p95), (99, got.p99)):
        reached = [one for one in seconds if 100 * sum(s <= one for s in seconds) >= percent * len(seconds)]
        assert value == min(reached, default=None)


def store(session, run_id, run):
    context = context_of().model_copy(update={"control": run["control"]})
    row = open_execution(session, run_facts(run_id=run_id, submitted_at=at(-1)), context)
    if run["began"] is None:
        return
    key = attempt_key(run_id=run_id)
    begin_attempt(session, row, AttemptBegin(key=key, kind="step", at=at(run["began"])))
    if ended(run) is None:
        return
    usage = Usage(
        cpu_seconds=run["cpu"], wall_seconds=1, peak_memory_bytes=run["memory"], network_received_bytes=run["cpu"],
        network_sent_bytes=2 * run["cpu"],
    )  # fmt: skip
    end = AttemptEnd(key=key, state="stopped", error_type=run["error"], usage=usage, at=at(ended(run)))
    end_attempt(session, row, end)
    close_execution(session, row, ExecutionStatus(run["end"]), {}, at=at(ended(run)))
