"""The declarative base of the engine's tables and the column types that behave alike on SQLite and PostgreSQL."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import JSON, BigInteger, DateTime, Dialect, Integer, MetaData
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.dialects.postgresql import insert as postgresql_insert
from sqlalchemy.dialects.sqlite import insert as sqlite_insert
from sqlalchemy.orm import DeclarativeBase, Session
from sqlalchemy.orm.attributes import set_committed_value
from sqlalchemy.types import TypeDecorator

__all__ = ["ID", "ID_LENGTH", "Base", "JsonValue", "UtcDateTime", "insert_if_absent", "now_is", "utc_now"]

ID_LENGTH = 250
"""Characters of a DAG id, run id or task id, as in Airflow's own tables."""

ID = BigInteger().with_variant(Integer, "sqlite")
"""A surrogate key; SQLite numbers rows by itself only for its own INTEGER."""

JsonValue = JSON().with_variant(JSONB(), "postgresql")
"""A JSON value."""

_NAMING = {
    "ix": "idx_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "fk": "fk_%(table_name)s_%(column_0_name)s",
    "pk": "pk_%(table_name)s",
}


class Base(DeclarativeBase):
    """Base of the engine's tables; their metadata is apart from Airflow's."""

    metadata = MetaData(naming_convention=_NAMING)
    type_annotation_map = {dict[str, Any]: JsonValue, list[Any]: JsonValue}  # noqa: RUF012  SQLAlchemy reads it so


class UtcDateTime(TypeDecorator[datetime]):
    """A moment, always with time zone UTC, also where the database keeps none (SQLite)."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Store it in UTC.

        :raises ValueError: it has no time zone, so nobody knows what moment it is.
        """
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError(f"{value} has no time zone")
        return value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Return it in UTC."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


def insert_if_absent(session: Session, table: type[Base], values: Mapping[str, Any]) -> bool:
    """Insert a row unless one with its key is there; return whether it was inserted.

    Not a savepoint around an INSERT: Python's SQLite driver begins no transaction at a savepoint, so releasing it
    would commit, and what is stored with the row could still be lost.
    """
    make = sqlite_insert if session.get_bind().dialect.name == "sqlite" else postgresql_insert
    statement = make(table).values(**values).on_conflict_do_nothing()
    done = session.execute(statement)
    return bool(done.rowcount == 1)  # type: ignore[attr-defined]  # of a cursor's result, which an INSERT has


def now_is(row: Base, values: Mapping[str, Any]) -> None:
    """Tell an object what an UPDATE has just given its row, which saves reading it again."""
    for name, value in values.items():
        set_committed_value(row, name, value)


def utc_now() -> datetime:
    """Return the present."""
    return datetime.now(UTC)
