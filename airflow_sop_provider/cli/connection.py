"""The engine of an Airflow, as the commands reach it: who calls, and what a refusal is as an exit code.

A script has to tell apart what it may try again, what it has to change, and what only a person can: so each has an exit
code of its own, and each is one line on stderr.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import click

from airflow_sop_provider.client import EngineError, ExecutionCoordinator, NotAllowedError, RefusedError

__all__ = ["EXIT_NOT_ALLOWED", "EXIT_NOT_COMPLETED", "EXIT_NO_ANSWER", "EXIT_REFUSED", "EXIT_TIMEOUT", "engine"]

EXIT_NOT_COMPLETED = 1
"""The execution ended otherwise than COMPLETED, or (`sop result`) is not over."""

EXIT_NOT_ALLOWED = 3
"""The engine does not know who calls, or they may not do this."""

EXIT_REFUSED = 4
"""It cannot be done as asked, and nothing was: the message says what to change."""

EXIT_NO_ANSWER = 5
"""No engine answered, or it failed; the same may go well later."""

EXIT_TIMEOUT = 124
"""As of timeout(1): it was not over in the time given; it goes on."""


class _NotAllowed(click.ClickException):
    exit_code = EXIT_NOT_ALLOWED


class _Refused(click.ClickException):
    exit_code = EXIT_REFUSED


class _NoAnswer(click.ClickException):
    exit_code = EXIT_NO_ANSWER


@contextmanager
def engine(url: str) -> Iterator[ExecutionCoordinator]:
    """Give a client; who calls stands in the environment, as arguments are visible to everybody on a machine.

    :raises click.UsageError: the environment does not say who calls.
    :raises click.ClickException: of the calls made with it; its exit code is one of those above.
    """
    token, user = os.environ.get("SOP_TOKEN"), os.environ.get("SOP_USER")
    if not token and not user:
        raise click.UsageError("set SOP_TOKEN to a token of Airflow's API, or SOP_USER and SOP_PASSWORD")
    password = os.environ.get("SOP_PASSWORD")
    with ExecutionCoordinator(url, token=token, user=None if token else user, password=password) as client:
        try:
            yield client
        except NotAllowedError as error:
            raise _NotAllowed(f"not allowed: {error}") from error
        except RefusedError as error:
            raise _Refused(f"refused: {error}") from error
        except EngineError as error:
            raise _NoAnswer(str(error)) from error
