"""What the scheduler's process and the executor's child say to each other.

One JSON object a line over a Unix socket: readable in a debugger, bounded in what it can carry
(no pickles), and independent of the Airflow version on either side.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from airflow.models.taskinstancekey import TaskInstanceKey
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from airflow_sop_provider.contract import AttemptKey

__all__ = [
    "AttemptMessage",
    "ChildMessage",
    "FinishedMessage",
    "FinishedState",
    "Identity",
    "RevokeMessage",
    "decode",
]


class _Message(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Identity(_Message):
    """Who runs a task instance, as Airflow knows it.

    Starting is idempotent for one identity, so an attempt keeps the one it began with, whichever
    process follows it later.
    """

    hostname: str
    unixname: str
    pid: int


class AttemptMessage(_Message):
    """Carry this attempt to its end; sent again after the child's death, it is adopted, not repeated.

    :param payload: the step's payload (`StepPayload` as JSON), None for a task that is no SOP step.
    :param log_path: the attempt's log file, relative to Airflow's base log folder.
    :param number: of the message; an approval's task comes again under the same id once people have answered.
    """

    type: Literal["attempt"] = "attempt"
    key: AttemptKey
    payload: dict[str, Any] | None
    log_path: str
    identity: Identity
    number: int = 0

    @property
    def task_instance_key(self) -> TaskInstanceKey:
        """The key under which the scheduler knows the attempt."""
        key = self.key
        return TaskInstanceKey(key.sop, key.step, key.run_id, key.attempt, key.map_index)


class RevokeMessage(_Message):
    """Stop this attempt without reporting anything to Airflow."""

    type: Literal["revoke"] = "revoke"
    task_instance_id: str


FinishedState = Literal["reported", "elsewhere", "success", "failed"]


class FinishedMessage(_Message):
    """Nothing of this attempt is left to do here, and Airflow knows what it came to, or who knows.

    :param state: ``reported`` if Airflow has the attempt's state from us, ``elsewhere`` if another scheduler's executor
        carries the attempt: then there is nothing to tell; ``success`` or ``failed``, for the scheduler's event buffer,
        if the attempt ended without a report of ours.
    :param info: a sentence for the scheduler's log.
    :param number: of the message that this answers.
    """

    type: Literal["finished"] = "finished"
    task_instance_id: str
    state: FinishedState
    number: int
    info: str | None = None


ChildMessage = Annotated[AttemptMessage | RevokeMessage | FinishedMessage, Field(discriminator="type")]
_ADAPTER: TypeAdapter[AttemptMessage | RevokeMessage | FinishedMessage] = TypeAdapter(ChildMessage)


def decode(line: bytes) -> AttemptMessage | RevokeMessage | FinishedMessage:
    """Return the message of one line.

    :raises pydantic.ValidationError: if the line is no message.
    """
    return _ADAPTER.validate_json(line)
