"""Identity of one attempt and the container name derived from it.

The name is a pure function of the identity, so a second attempt to create the same container
meets the first one and adopts it (design, section 7): nothing ever runs twice by accident.
"""

from __future__ import annotations

import hashlib
import re

from pydantic import BaseModel, ConfigDict

__all__ = ["AttemptKey", "container_name"]

_NAME_LIMIT = 63  # a DNS label, RFC 1123; a pod's name must fit into labels and host names
_HASH_LENGTH = 16


class AttemptKey(BaseModel):
    """One try of one step in one execution.

    :param sop: SOP id, which is the DAG id.
    :param run_id: Airflow's run id; (sop, run_id) is the execution.
    :param step: step id, which is the task id.
    :param map_index: index in a ``for_each``, -1 for a step without one.
    :param attempt: number of the try, from 1.
    :param task_instance_id: UUID of Airflow's task instance. Clearing a task gives it a new one,
        so a cleared try never meets the container of the try it replaces.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    sop: str
    run_id: str
    step: str
    map_index: int = -1
    attempt: int
    task_instance_id: str


def container_name(key: AttemptKey) -> str:
    """Return ``sop-<sop>-<step>-<hash>``, a DNS label of at most 63 characters."""
    identity = "\x1f".join((key.run_id, str(key.map_index), str(key.attempt), key.task_instance_id))
    digest = hashlib.sha256(f"{key.sop}\x1f{key.step}\x1f{identity}".encode()).hexdigest()[:_HASH_LENGTH]
    readable = re.sub(r"[^a-z0-9]+", "-", f"sop-{key.sop}-{key.step}".lower())
    return f"{readable[: _NAME_LIMIT - _HASH_LENGTH - 1].rstrip('-')}-{digest}"
