"""Single statements against Airflow's database, without a transaction around them.

A transaction costs two more ways to the database, one to begin and one to end it; what is one statement needs none.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from airflow.utils.session import create_session
from sqlalchemy import Connection

__all__ = ["statements"]


@contextmanager
def statements() -> Iterator[Connection]:
    """Give a connection on which every statement stands at once, and alone."""
    with create_session(scoped=False) as session:
        yield session.connection(execution_options={"isolation_level": "AUTOCOMMIT"})
