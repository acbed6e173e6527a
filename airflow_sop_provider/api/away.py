"""What a caller is told while Airflow's database is away, restarts or is full: to come again, not that we broke."""

from __future__ import annotations

import logging

from fastapi import FastAPI, Request, status
from fastapi.responses import JSONResponse
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

__all__ = ["answer_while_away"]

_LOG = logging.getLogger(__name__)
_AGAIN_SECONDS = 2


def answer_while_away(app: FastAPI) -> None:
    """Have an app answer 503 with ``Retry-After`` where the database gives no answer; a client simply calls again."""
    for error in (OperationalError, InterfaceError, PoolTimeoutError, DBAPIError):
        app.add_exception_handler(error, _away)


async def _away(request: Request, error: Exception) -> JSONResponse:
    if isinstance(error, DBAPIError) and not _of_the_moment(error):
        raise error  # a mistake of ours, or tables that nobody has migrated
    _LOG.warning("%s %s: the metadata database does not answer: %s", request.method, request.url.path, error)
    return JSONResponse(
        {"detail": "Airflow's metadata database does not answer; nothing was changed. Call again."},
        status_code=status.HTTP_503_SERVICE_UNAVAILABLE,
        headers={"Retry-After": str(_AGAIN_SECONDS)},
    )


def _of_the_moment(error: DBAPIError) -> bool:
    missing = "no such" in str(error.orig)  # SQLite says so by the same error as that it is locked or full
    return error.connection_invalidated or (isinstance(error, OperationalError | InterfaceError) and not missing)
