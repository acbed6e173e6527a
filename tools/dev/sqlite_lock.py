"""How long Airflow's API server waits for SQLite's one write lock: as long as it may, by thread.

A request that has written needs the server's event loop to commit. Where the loop itself waits for the lock, to write
an audit entry, it waits for a request that waits for it: that wait must be short. A worker's thread holds up nobody,
and must wait long: the Execution API sets a task to failed whose state it could not write in time, whatever
state that was to be.
"""

from __future__ import annotations

import asyncio
import sqlite3
from typing import Any

from sqlalchemy import event
from sqlalchemy.pool import Pool

from tools.dev.instance import LOCK_SECONDS

__all__ = ["LOOP_SECONDS", "wait_by_thread"]

LOOP_SECONDS = 2


def wait_by_thread() -> None:
    """Have every connection to SQLite wait as long as the thread that takes it from its pool may."""
    if not event.contains(Pool, "checkout", _set_wait):
        event.listen(Pool, "checkout", _set_wait)


def _set_wait(connection: Any, _record: Any, _proxy: Any) -> None:
    if isinstance(connection, sqlite3.Connection):
        seconds = LOOP_SECONDS if _is_event_loop() else LOCK_SECONDS
        connection.execute(f"PRAGMA busy_timeout = {seconds * 1000}")


def _is_event_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True
