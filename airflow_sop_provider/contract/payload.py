"""What a DAG's task carries about its step, for whoever starts the container.

It travels in the task's ``executor_config``, so it is part of the DAG's serialized version: a
run executes each step exactly as its DAG version described it, whatever happened to the YAML
file meanwhile, and the executor needs no file of the bundle.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

__all__ = ["PAYLOAD_KEY", "StepPayload", "TaskKind"]

PAYLOAD_KEY = "sop"
"""Key of the payload in a task's ``executor_config``."""

TaskKind = Literal["step", "items", "rollback", "agent_centric"]


class StepPayload(BaseModel):
    """One task of a DAG, as its runner will need it.

    :param kind: ``step``; ``items`` evaluates a ``for_each`` expression to the list of its items;
        ``rollback`` undoes the step ``step["after"]`` and is skipped unless `engine.rollback` says there is
        something to undo; ``agent_centric`` carries out the whole SOP.
    :param sop: SOP id.
    :param version: SOP version.
    :param digest: SHA-256 (hex) of the SOP document.
    :param step: the step as in the SOP (JSON); for ``agent_centric`` the whole SOP document.
    :param inputs: JSON Schema of each input, for defaults and validation of the run's conf.
    :param data_sources: those the step may touch: name -> {server, tools}.
    :param reads: ids of steps whose outputs the step's expressions read.
    :param approvals: ids of the approvals among the steps before it, direct or not: it starts only if they were given.
    :param items_task: task whose output list holds the items of a ``for_each``, None without one.
    :param max_retries: retries after the first attempt.
    :param memory_bytes: memory limit of the attempt, bytes.
    :param max_memory_bytes: cap of memory when a resource failure is retried with more, bytes.
    :param cpu_millis: CPU limit, thousandths of a core.
    :param ephemeral_storage_bytes: limit of temporary files, bytes.
    :param gpus: number of GPUs.
    :param network_bits: bandwidth limit, bits a second.
    :param timeout_seconds: wall-clock limit of one attempt.
    :param priority: of the SOP; an execution may have one of its own.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: TaskKind
    sop: str
    version: str
    digest: str
    control: str | None = None
    priority: str = "normal"
    step: dict[str, Any]
    inputs: dict[str, Any] = Field(default_factory=dict)
    data_sources: dict[str, Any] = Field(default_factory=dict)
    agent: dict[str, Any] | None = None
    guidance: str | None = None
    reads: tuple[str, ...] = ()
    approvals: tuple[str, ...] = ()
    items_task: str | None = None
    max_retries: int = 3
    memory_bytes: int | None = None
    max_memory_bytes: int | None = None
    cpu_millis: int | None = None
    ephemeral_storage_bytes: int | None = None
    gpus: int | None = None
    network_bits: int | None = None
    timeout_seconds: float | None = None

    @property
    def asks_people(self) -> bool:
        """Whether the step is an approval: its task waits for people once its runner has ended."""
        return self.kind == "step" and "approval" in self.step

    @property
    def step_id(self) -> str:
        """Id of the step, as errors and audit entries name it."""
        return str(self.step.get("id") or self.step.get("sop"))
