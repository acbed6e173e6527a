"""What answers a status query while thousands run: every look-up goes by an index, on both databases.

PostgreSQL prefers a scan while a table is small, so it is asked without (``enable_seqscan``): what is held here is that
an index serves the query at all.
"""

from __future__ import annotations

from sqlalchemy import select, text
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from airflow_sop_provider.store.tables import AttemptRow, AuditChainRow, AuditEntryRow, DeliveryRow, ExecutionRow


def plan(session: Session, query) -> str:
    on_sqlite = session.get_bind().dialect.name == "sqlite"
    dialect = sqlite.dialect() if on_sqlite else postgresql.dialect()
    compiled = str(query.compile(dialect=dialect, compile_kwargs={"literal_binds": True}))
    if on_sqlite:
        return "\n".join(row[3] for row in session.execute(text(f"EXPLAIN QUERY PLAN {compiled}")))
    session.execute(text("SET LOCAL enable_seqscan = off"))
    return "\n".join(row[0] for row in session.execute(text(f"EXPLAIN {compiled}")))


def by_index(session: Session, query, index: str) -> None:
    found = plan(session, query)
    assert index in found, found
    assert "SCAN sop_" not in found, found  # SQLite's word for reading all of a table
    assert "Seq Scan" not in found, found


def test_an_execution_is_found_by_its_id(session) -> None:
    query = select(ExecutionRow.id).where(ExecutionRow.sop == "a", ExecutionRow.run_id == "b")
    name = "sqlite_autoindex_sop_execution" if session.get_bind().dialect.name == "sqlite" else "uq_sop_execution"
    by_index(session, query, name)


def test_its_attempts_are_found_by_the_execution(session) -> None:
    query = select(AttemptRow.step).where(AttemptRow.execution_id == 1)
    by_index(session, query, "idx_sop_attempt_execution_step")


def test_what_is_open_is_found_by_status(session) -> None:
    query = select(ExecutionRow.id).where(ExecutionRow.status.in_(["QUEUED", "RUNNING"]))
    by_index(session, query, "idx_sop_execution_status_id")


def test_a_batch_and_a_control_are_found_by_theirs(session) -> None:
    by_index(session, select(ExecutionRow.id).where(ExecutionRow.batch == "b"), "idx_sop_execution_batch_id")
    by_index(session, select(ExecutionRow.id).where(ExecutionRow.control == "c"), "idx_sop_execution_control_id")


def test_an_attempt_of_a_pod_is_found_by_its_container_or_uid(session) -> None:
    by_index(session, select(AttemptRow.id).where(AttemptRow.pod_uid == "u"), "idx_sop_attempt_pod_uid")
    by_index(session, select(AttemptRow.id).where(AttemptRow.container == "c"), "idx_sop_attempt_container")


def test_deliveries_that_are_due_are_found_by_state(session) -> None:
    by_index(session, select(DeliveryRow.id).where(DeliveryRow.state == "pending"), "idx_sop_delivery_state_next")


def test_the_end_of_a_chain_is_found_without_its_entries(session) -> None:
    query = select(AuditChainRow.seq).where(AuditChainRow.name == "a/b")
    found = plan(session, query)
    assert AuditEntryRow.__tablename__ not in found
    assert "index" in found.lower(), found
