"""Whether a rollback step has something to undo.

Airflow starts a rollback task once everything before it is over, whatever came of it: that is
what a teardown does. Whether there is something to undo is known only then, so whoever carries
the task out asks here first and skips it otherwise. The rule (design, section 8): a rollback step
runs when the execution failed and the step it undoes had succeeded.
"""

from __future__ import annotations

from airflow_sop_provider.contract.payload import StepPayload

__all__ = ["FAILED_STATES", "reason_to_skip", "undone_step"]

FAILED_STATES = ("failed", "upstream_failed")
"""States of a task instance that make an execution a failed one.

A rollback task that failed needs no exception: it ran because a step had failed.
"""


def undone_step(payload: StepPayload) -> str:
    """Return the id of the step that a rollback step undoes."""
    return str(payload.step["after"])


def reason_to_skip(payload: StepPayload, *, undone_succeeded: bool, execution_failed: bool) -> str | None:
    """Return why a rollback step is not to run, None if it is.

    :param undone_succeeded: a task instance of `undone_step` succeeded (of a ``for_each``: any).
    :param execution_failed: a task instance of the execution is in one of `FAILED_STATES`.
    """
    if not undone_succeeded:
        return f"nothing to undo: step `{undone_step(payload)}` did not succeed"
    if not execution_failed:
        return "nothing to undo: no step of the execution failed"
    return None
