"""What following costs while thousands run and years of history lie there; and that nothing is missed for it."""

from __future__ import annotations

from datetime import timedelta

import pytest
from airflow.utils.session import create_session
from sqlalchemy import delete, select

from airflow_sop_provider.runs.overrun import find_overruns
from airflow_sop_provider.runs.reconcile import Found, KnownRuns, reconcile
from airflow_sop_provider.store.alerts import expected_of, limits_of
from airflow_sop_provider.store.base import utc_now
from airflow_sop_provider.store.executions import find_execution
from airflow_sop_provider.store.tables import AttemptRow, AuditChainRow, AuditEntryRow, ExecutionRow
from tests.api.test_alerts import late
from tests.api.test_executions import submit
from tests.api.test_recent import statements

__all__ = ["late"]


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def forget() -> None:
    """As if nobody of ours had ever met these runs."""
    with create_session() as session:
        for table in (AttemptRow, AuditEntryRow, AuditChainRow, ExecutionRow):
            session.execute(delete(table))


def knows(chain: str, run_id: str) -> bool:
    with create_session() as session:
        return find_execution(session, chain, run_id) is not None


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_everything_is_looked_at_first_then_what_is_new_then_everything_again(clock) -> None:
    known = KnownRuns(clock, again=0)
    assert known.below(70) == 0
    known.all_known(70, looked_from=0)
    assert known.below(90) == 0, "whoever took number 69 may not have committed yet"
    clock.now += 60
    known.all_known(80, looked_from=0)
    clock.now += 61
    assert known.below(90) == 70
    clock.now += 60
    assert known.below(90) == 80
    clock.now += 1000
    assert known.below(90) == 0, "for what took longer to be written than anybody thinks"
    known.all_known(90, looked_from=0)
    assert known.below(90) == 80
    assert known.below(75) == 75, "newer ones were deleted; their numbers may come again"
    assert KnownRuns(clock).below(90) == 0


def test_a_run_is_found_by_whoever_was_just_started(admin, chain) -> None:
    run_id = submit(admin, chain).json()["run_id"]
    forget()
    reconcile(create_session, KnownRuns())
    assert knows(chain, run_id)


def test_a_run_below_what_is_known_is_found_when_everything_is_looked_at(admin, chain, clock) -> None:
    known = KnownRuns(clock, again=0)
    reconcile(create_session, known)
    run_id = submit(admin, chain).json()["run_id"]
    forget()
    reconcile(create_session, known)
    assert knows(chain, run_id), "it is newer than what was known"
    clock.now += 121
    reconcile(create_session, known)
    forget()
    reconcile(create_session, known)
    assert not knows(chain, run_id), "old runs are not asked for every second"
    clock.now += 600
    reconcile(create_session, known)
    assert knows(chain, run_id)


def test_a_turn_without_news_is_a_few_statements(admin, chain, clock) -> None:
    for _ in range(5):
        submit(admin, chain)
    while reconcile(create_session, KnownRuns(clock)) != Found():  # runs of other tests are opened, then closed
        pass
    with statements() as said:
        found = reconcile(create_session, KnownRuns(clock))
    assert (found.opened, found.closed) == (0, 0)
    assert len(said) == 4, said


def test_what_was_looked_at_is_not_looked_at_again_before_it_may_be_late(late, admin, chain) -> None:
    """One of thousands that run is a row of one query, not a transaction of its own every ten seconds."""
    with create_session() as session:
        find_execution(session, chain, late).expected_seconds = 86_400
    assert find_overruns(create_session) == 0
    with statements() as said:
        assert find_overruns(create_session) == 0
    assert len(said) == 2, said


def test_the_first_look_at_many_reads_history_once(admin, chain) -> None:
    """After a restart there are thousands that nobody remembers; what is expected of them is the same for all."""
    for _ in range(8):
        submit(admin, chain)
    now = utc_now()
    with create_session() as session:
        rows = session.scalars(select(ExecutionRow)).all()
        for number, row in enumerate(rows):
            row.control_type, row.started_at = "reviews", now - timedelta(minutes=10)
            if number < 5:  # took a minute, before the others began
                row.status, row.started_at, row.ended_at = (
                    "COMPLETED",
                    now - timedelta(hours=2),
                    now - timedelta(minutes=119),
                )
            else:
                row.status = "RUNNING"
        rows[7].started_at = now - timedelta(seconds=90)
        late = {rows[5].id, rows[6].id}
    with statements() as said:
        assert find_overruns(create_session) == 2
    history = [statement for statement in said if "control_type = " in statement]
    assert len(history) == 1 + 2, "once for all, and once more for each of the two that are late"
    with create_session() as session:
        assert set(session.scalars(select(ExecutionRow.id).where(ExecutionRow.flagged))) == late
        for row in session.scalars(select(ExecutionRow).where(ExecutionRow.status == "RUNNING")):
            expected = expected_of(session, row)
            assert limits_of(session, [row.id])[row.id].too_long_from == row.started_at + timedelta(
                seconds=2 * expected
            )
