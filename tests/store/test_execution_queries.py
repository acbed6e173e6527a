"""Executions are found by every filter, in an order that does not change while pages are turned."""

from __future__ import annotations

from datetime import timedelta

import pytest
from sqlalchemy import update

from airflow_sop_provider.engine.execution_state import ExecutionStatus
from airflow_sop_provider.store.execution_queries import BadCursorError, ExecutionFilter, page_of
from airflow_sop_provider.store.executions import close_execution, open_execution
from airflow_sop_provider.store.tables import ExecutionRow
from tests.store.facts import SUBMITTED, context_of, run_facts

SOP = "software-licence-review"
DAY = timedelta(days=1)


def opened(session, run_id: str, sop: str = SOP, **columns) -> str:
    """Open an execution whose columns are all alike but for what is given."""
    row = open_execution(session, run_facts(sop, run_id), context_of())
    same = {
        "control": "C-1", "mode": "system_design", "priority": "normal", "agent": None, "batch": None,
        "submitted_at": SUBMITTED,
    }  # fmt: skip
    session.execute(update(ExecutionRow).where(ExecutionRow.id == row.id).values({**same, **columns}))
    session.refresh(row)
    return run_id


def found(session, limit: int = 50, **wanted) -> list[str]:
    rows, _ = page_of(session, ExecutionFilter(**{"sops": frozenset({SOP, "other"}), **wanted}), limit=limit)
    return [row.run_id for row in rows]


@pytest.mark.parametrize(
    ("columns", "wanted"),
    [
        ({"sop": "other"}, {"sops": frozenset({"other"})}),
        ({"control": "C-2"}, {"control": "C-2"}),
        ({"mode": "agent_centric"}, {"mode": "agent_centric"}),
        ({"priority": "critical"}, {"priority": "critical"}),
        ({"agent": "auditor"}, {"agent": "auditor"}),
        ({"batch": "night"}, {"batch": "night"}),
        ({"submitted_at": SUBMITTED + DAY}, {"submitted_from": SUBMITTED + DAY}),
        ({"submitted_at": SUBMITTED - DAY}, {"submitted_until": SUBMITTED}),
    ],
)
def test_each_filter_finds_what_has_it_and_nothing_else(session, columns, wanted) -> None:
    opened(session, "a")
    opened(session, "it", columns.pop("sop", SOP), **columns)
    opened(session, "b")
    assert found(session, **wanted) == ["it"]
    assert found(session) == ["b", "it", "a"], "the newest first"


def test_states_are_chosen_together(session) -> None:
    for run_id, status in (("a", "COMPLETED"), ("b", "FAILED"), ("c", "PARTIALLY_COMPLETED"), ("d", None)):
        opened(session, run_id)
        row = session.query(ExecutionRow).filter_by(run_id=run_id).one()
        if status is not None:
            close_execution(session, row, ExecutionStatus(status), {})
    assert found(session, statuses=("FAILED", "PARTIALLY_COMPLETED")) == ["c", "b"]
    assert found(session, statuses=("SUBMITTED",)) == ["d"]
    assert found(session, sops=frozenset()) == [], "who may see no SOP sees nothing"


def test_filters_hold_together(session) -> None:
    opened(session, "both", control="C-2", batch="night")
    opened(session, "one", control="C-2")
    assert found(session, control="C-2", batch="night") == ["both"]


def test_pages_neither_lose_nor_double_while_executions_are_added(session) -> None:
    made = [opened(session, f"r{number}") for number in range(10)]
    wanted, seen, cursor = ExecutionFilter(sops=frozenset({SOP})), [], None
    while True:
        rows, cursor = page_of(session, wanted, limit=3, cursor=cursor)
        seen += [row.run_id for row in rows]
        opened(session, f"new{len(seen)}")
        if cursor is None:
            break
    assert seen == made[::-1]
    with pytest.raises(BadCursorError):
        page_of(session, wanted, limit=3, cursor="-1")
