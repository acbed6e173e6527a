"""A clock finer than a second for the scheduler on SQLite.

A scheduler asks the database for runs whose ``run_after`` is over (``run_after <= now()``), and SQLite's
``CURRENT_TIMESTAMP`` has whole seconds: whoever triggered a run waited for the next one, half a second on average,
before anything looked at it. With milliseconds a run is found at once, and still never before its time.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import now

__all__ = ["use_precise_now"]


def use_precise_now() -> None:
    """Have ``func.now()`` tell milliseconds on SQLite, in this process from now on; others do by themselves."""
    compiles(now, "sqlite")(_precise)


def _precise(element: Any, compiler: Any, **_: Any) -> str:
    """Return the time as SQLAlchemy's texts of SQLite have it, so that the two compare."""
    return "strftime('%Y-%m-%d %H:%M:%f', 'now')"
