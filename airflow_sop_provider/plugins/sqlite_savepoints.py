"""On SQLite a savepoint is part of a transaction, as on any other database.

Python's SQLite driver begins a transaction at the first write, and knows nothing of savepoints. So one that comes first
is a transaction of its own: its release is a commit, and what was read in it may be out of date when it comes to write,
which SQLite refuses at once ("database is locked"), however long one would wait. Airflow's backfill makes its runs that
way, one savepoint for each: seen from its UI, half of the runs were there, the next was refused, and Airflow deleted
those that the scheduler had already begun, which ended the scheduler. With the write lock taken before the first
savepoint it waits its turn, and the runs are there all together or not at all.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, event
from sqlalchemy.engine import Engine

__all__ = ["begin_before_savepoints"]


def begin_before_savepoints(engine: type[Engine] | Engine = Engine) -> None:
    """Have a transaction begin before its first savepoint on SQLite.

    :param engine: default: every engine of this process, also one that Airflow makes anew.
    """
    if not event.contains(engine, "savepoint", _begin):
        event.listen(engine, "savepoint", _begin)


def _begin(connection: Connection, _name: str | None) -> None:
    if connection.dialect.name != "sqlite":
        return
    driver: Any = connection.connection.dbapi_connection
    if not getattr(driver, "in_transaction", True):
        driver.execute("BEGIN IMMEDIATE")
