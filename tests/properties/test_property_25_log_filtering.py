"""Feature: execution-engine, Property 25: Log filtering

Whatever filters are given, the entries that come back are exactly those of which all of them hold, in a stable order.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import create_engine, insert
from sqlalchemy.orm import Session
from sqlalchemy.pool import StaticPool

from airflow_sop_provider.audit.entries import AuditFields, audit_time
from airflow_sop_provider.store.audit_append import append
from airflow_sop_provider.store.audit_log import AuditFilter, query_entries
from airflow_sop_provider.store.tables import ExecutionRow, metadata

BEGAN = datetime(2026, 1, 1, tzinfo=UTC)
SOPS = ("pay", "buy")
STATUS = {"pay/1": "COMPLETED", "pay/2": "FAILED", "buy/1": "RUNNING"}
KINDS, LEVELS, AGENTS, STEPS = ("action", "decision", "note"), ("info", "error"), ("a", None), ("read", None)
TEXTS = ("Called 100% of_it", "called nothing", "x")


@pytest.fixture(scope="module")
def log():
    """Entries of every combination, in a database of their own."""
    engine = create_engine("sqlite://", poolclass=StaticPool)
    metadata.create_all(engine)
    with Session(engine) as session:
        for name, status in STATUS.items():
            sop, run_id = name.split("/")
            session.execute(insert(ExecutionRow).values(
                sop=sop, run_id=run_id, status=status, mode="system_design", priority="normal", run_type="manual",
                inputs={}, context={}, submitted_at=BEGAN,
            ))  # fmt: skip
            append(session, name, [
                AuditFields(kind=KINDS[n % 3], component="t", level=LEVELS[n // 3 % 2], agent=AGENTS[n // 2 % 2],
                            step=STEPS[n // 5 % 2], message=TEXTS[n // 7 % 3], time=BEGAN + timedelta(hours=n % 11))
                for n in range(40)
            ])  # fmt: skip
        session.commit()
        yield session, query_entries(session, AuditFilter(), limit=1000).entries
    engine.dispose()


MAYBE = {
    "execution": st.sampled_from([None, *STATUS]),
    "sop": st.sampled_from([None, *SOPS]),
    "agent": st.sampled_from([None, "a", "b"]),
    "status": st.sampled_from([None, *STATUS.values()]),
    "level": st.sampled_from([None, *LEVELS]),
    "kind": st.sampled_from([None, *KINDS]),
    "step": st.sampled_from([None, "read"]),
    "text": st.sampled_from([None, "CALLED", "100%", "%", "_", ""]),
    "since": st.none() | st.integers(0, 11).map(lambda hours: BEGAN + timedelta(hours=hours)),
    "until": st.none() | st.integers(0, 11).map(lambda hours: BEGAN + timedelta(hours=hours)),
}


@settings(max_examples=200)
@given(wanted=st.builds(AuditFilter, **MAYBE), limit=st.integers(1, 50))
def test_what_comes_back_is_what_matches(log, wanted, limit):
    session, everything = log
    assert len(everything) == 120
    found, cursor = [], None
    while True:
        page = query_entries(session, wanted, limit=limit, cursor=cursor)
        assert len(page.entries) <= limit
        found += page.entries
        cursor = page.cursor
        if cursor is None:
            break
    assert found == [entry for entry in everything if matches(entry, wanted)]


def matches(entry, wanted: AuditFilter) -> bool:
    equal = ("execution", "agent", "level", "kind", "step")
    return (
        all(getattr(wanted, name) in (None, getattr(entry, name)) for name in equal)
        and wanted.sop in (None, entry.execution.split("/")[0])
        and wanted.status in (None, STATUS[entry.execution])
        and (wanted.text is None or wanted.text.lower() in entry.message.lower())
        and (wanted.since is None or entry.time >= audit_time(wanted.since))
        and (wanted.until is None or entry.time < audit_time(wanted.until))
    )
