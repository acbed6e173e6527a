"""Looks into Airflow's database: what no component has to be asked for, and so costs none of them CPU time."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa

__all__ = ["AirflowDatabase", "Runs"]

_DAG = sa.table("dag", sa.column("dag_id"), sa.column("last_parsed_time", sa.DateTime(timezone=True)))
_RUN = sa.table(
    "dag_run",
    sa.column("id", sa.Integer),
    sa.column("dag_id"),
    sa.column("run_id"),
    sa.column("state"),
    sa.column("end_date", sa.DateTime(timezone=True)),
)
_STEP = sa.table(
    "task_instance", sa.column("dag_id"), sa.column("run_id"), sa.column("end_date", sa.DateTime(timezone=True))
)
_ERROR = sa.table("import_error", sa.column("filename"), sa.column("stacktrace"))


class Runs:
    """Executions of a DAG: how many there are, how many are over, how many failed, and when the last one ended."""

    def __init__(self, rows: Sequence[tuple[str, datetime | None]]) -> None:
        self.total = len(rows)
        self.failed = sum(state == "failed" for state, _ in rows)
        self.over = self.failed + sum(state == "success" for state, _ in rows)
        self.last_end = max((_aware(end) for _, end in rows if end is not None), default=None)


class AirflowDatabase:
    """The database of one Airflow, read only.

    :param url: SQLAlchemy URL.
    """

    def __init__(self, url: str) -> None:
        self._engine = sa.create_engine(url)

    def close(self) -> None:
        """Close the connections."""
        self._engine.dispose()

    def parsed_since(self, moment: datetime) -> int:
        """Return how many DAGs the dag-processor has written since ``moment``."""
        since = moment.astimezone(UTC)
        if self._engine.dialect.name == "sqlite":
            since = since.replace(tzinfo=None)  # as it stands there
        query = sa.select(sa.func.count()).select_from(_DAG).where(_DAG.c.last_parsed_time >= since)
        return int(self._rows(query)[0][0])

    def import_errors(self) -> list[str]:
        """Return why files could not be loaded."""
        rows = self._rows(sa.select(_ERROR.c.filename, _ERROR.c.stacktrace))
        return [f"{row.filename}: {row.stacktrace}" for row in rows]

    def last_run(self) -> int:
        """Return the id of the newest execution, 0 if there is none."""
        return int(self._rows(sa.select(sa.func.coalesce(sa.func.max(_RUN.c.id), 0)))[0][0])

    def runs_since(self, dag: str, last_run: int) -> Runs:
        """Return the executions of a DAG that are newer than `last_run` was."""
        query = sa.select(_RUN.c.state, _RUN.c.end_date).where(_RUN.c.dag_id == dag, _RUN.c.id > last_run)
        return Runs([(row.state, row.end_date) for row in self._rows(query)])

    def run_ids(self, dag: str) -> list[str]:
        """Return the ids of all executions of a DAG."""
        return [row.run_id for row in self._rows(sa.select(_RUN.c.run_id).where(_RUN.c.dag_id == dag))]

    def step_end(self, dag: str, run: str) -> datetime | None:
        """Return when the last step of an execution was over, None if none is."""
        query = sa.select(_STEP.c.end_date).where(_STEP.c.dag_id == dag, _STEP.c.run_id == run)
        return max((_aware(row.end_date) for row in self._rows(query) if row.end_date is not None), default=None)

    def _rows(self, query: sa.Select[Any]) -> Sequence[sa.Row[Any]]:
        with self._engine.connect() as connection:
            return connection.execute(query).all()


def _aware(moment: datetime) -> datetime:
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
