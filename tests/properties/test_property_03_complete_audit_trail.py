"""Feature: execution-engine, Property 3: Complete audit trail

Whatever an execution did, its log has a start entry (execution, version and digest of the SOP, agent, time, mode),
every action, decision and data access in order, and a completion entry (result, duration, status); and it verifies.
"""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import create_engine
from sqlalchemy.orm import Session
from sqlalchemy.pool import StaticPool

from airflow_sop_provider.audit.chain_check import check_chain, check_complete
from airflow_sop_provider.engine.execution_state import ExecutionStatus
from airflow_sop_provider.store.attempts import AttemptBegin, AttemptEnd, begin_attempt, end_attempt, record_events
from airflow_sop_provider.store.audit_log import chain_entries
from airflow_sop_provider.store.executions import close_execution, open_execution
from airflow_sop_provider.store.tables import metadata
from tests.store.facts import attempt_key, context_of, run_facts

pytestmark = pytest.mark.slow

EVENTS = st.lists(st.sampled_from(["action", "decision", "data.access"]), max_size=8)
ATTEMPTS = st.lists(st.tuples(EVENTS, st.integers(0, 8)), min_size=1, max_size=3)
STATUS = st.sampled_from([status for status in ExecutionStatus if status.is_final])


@settings(max_examples=100)
@given(attempts=ATTEMPTS, status=STATUS)
def test_everything_is_in_the_log(attempts, status):
    context = context_of()
    engine = create_engine("sqlite://", poolclass=StaticPool)
    metadata.create_all(engine)
    with Session(engine) as session:
        execution = open_execution(session, run_facts(), context)
        for number, (kinds, live) in enumerate(attempts, 1):
            key = attempt_key(attempt=number)
            row = begin_attempt(session, execution, AttemptBegin(key=key, kind="step", runtime="local"))
            events = [
                {"seq": n, "time": "2026-11-25T08:00:01+00:00", "event": kind, "n": n}
                for n, kind in enumerate(kinds, 1)
            ]
            record_events(session, execution, row, events[:live])  # while it ran; all of them came with the verdict
            state = "succeeded" if number == len(attempts) else "retrying"
            end_attempt(session, execution, AttemptEnd(key=key, state=state, events=events))
        close_execution(session, execution, status, {"outputs": {"n": 1}})
        entries = chain_entries(session, execution.name)
    engine.dispose()

    start, completion = entries[0], entries[-1]
    said = {"execution": execution.name, "version": context.version, "digest": context.digest, "mode": context.mode}
    assert (start.kind, said.items() <= start.metadata.items()) == ("start", True)
    assert start.metadata["agent"]
    assert completion.kind == "completion"
    assert completion.metadata["status"] == status
    assert completion.metadata["duration_seconds"] >= 0
    assert completion.metadata["result"] == {"outputs": {"n": 1}}
    recorded = [
        (e.attempt, e.kind, e.metadata["n"]) for e in entries if e.kind in ("action", "decision", "data.access")
    ]
    assert recorded == [
        (number, kind, n) for number, (kinds, _) in enumerate(attempts, 1) for n, kind in enumerate(kinds, 1)
    ]
    assert check_chain(execution.name, entries) == check_complete(execution.name, entries) == []
