"""A step, what it may do (its kind), and the step that undoes it."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

from airflow_sop_provider.sop.fields import (
    Cpu,
    Duration,
    EnvName,
    Expression,
    Identifier,
    Model,
    Quantity,
    StepId,
    Template,
    Text,
    ToolName,
)
from airflow_sop_provider.sop.quantities import bytes_of, millis_of

__all__ = [
    "ROLLBACK_KINDS",
    "STEP_KINDS",
    "AgentStep",
    "Approval",
    "Command",
    "Decision",
    "Resources",
    "Retry",
    "RollbackStep",
    "Step",
    "StepKind",
]

StepKind = Literal["tool", "compute", "decision", "agent", "approval", "command"]
STEP_KINDS: tuple[StepKind, ...] = ("tool", "compute", "decision", "agent", "approval", "command")
"""Keys of which a step has exactly one."""
ROLLBACK_KINDS: tuple[StepKind, ...] = ("tool", "compute", "command")
"""Keys of which a rollback step has exactly one: undoing must not wait for a person or a model."""

Schema = dict[str, Any]


def _one_of(kinds: tuple[StepKind, ...]) -> dict[str, Any]:
    return {"oneOf": [{"required": [kind]} for kind in kinds]}


class Resources(Model):
    """What one attempt of a step may use."""

    cpu: Cpu | None = Field(None, description="CPU limit in cores, Kubernetes notation: 250m is a quarter of a core.")
    memory: Quantity | None = Field(None, description="Memory limit in bytes, Kubernetes notation, for example 256Mi.")
    max_memory: Quantity | None = Field(
        None, description="Cap of memory when a step that ran out of it is tried again with twice as much."
    )
    ephemeral_storage: Quantity | None = Field(None, description="Limit of temporary files in bytes, for example 1Gi.")
    gpu: int | None = Field(None, ge=1, le=64, description="Number of GPUs.")
    network: Quantity | None = Field(None, description="Bandwidth limit in bits a second, for example 10M.")

    @property
    def cpu_millis(self) -> int | None:
        """CPU limit in thousandths of a core."""
        return None if self.cpu is None else millis_of(self.cpu)

    @property
    def memory_bytes(self) -> int | None:
        """Memory limit in bytes."""
        return None if self.memory is None else bytes_of(self.memory)

    @property
    def max_memory_bytes(self) -> int | None:
        """Cap of the memory limit in bytes."""
        return None if self.max_memory is None else bytes_of(self.max_memory)

    @property
    def ephemeral_storage_bytes(self) -> int | None:
        """Limit of temporary files in bytes."""
        return None if self.ephemeral_storage is None else bytes_of(self.ephemeral_storage)

    @property
    def gpus(self) -> int | None:
        """Number of GPUs."""
        return self.gpu

    @property
    def network_bits(self) -> int | None:
        """Bandwidth limit in bits a second."""
        return None if self.network is None else bytes_of(self.network)

    @model_validator(mode="after")
    def _cap_above_limit(self) -> Resources:
        if (self.max_memory_bytes or self.memory_bytes or 0) < (self.memory_bytes or 0):
            raise PydanticCustomError("bad_quantity", "`max_memory` is less than `memory`: raise it, or lower `memory`")
        return self


class Retry(Model):
    """How often a step is tried again after a transient failure; the delays are 1, 2, 4, ... seconds."""

    max_retries: int = Field(3, ge=0, le=10, description="Retries after the first attempt, 0 to 10.")


class Decision(Model):
    """A choice between named options, by a rule, an agent, or a rule that asks the agent when it must."""

    question: Template = Field(description="What is to be decided. May hold {{ expressions }}.")
    options: dict[Text, str] = Field(min_length=2, description="Name of each option and what it means.")
    guidance: Template | None = Field(None, description="How to decide. May hold {{ expressions }}.")
    rule: Expression | None = Field(
        None, description="Expression that gives the name of an option, or `ask` to hand the decision to the agent."
    )


class AgentStep(Model):
    """Work for an agent."""

    instruction: Template = Field(description="What the agent is to do. May hold {{ expressions }}.")
    tools: list[ToolName] = Field(
        default_factory=list, description="Tools it may call, `<data source>.<tool>`; none if left out."
    )


class Approval(Model):
    """A wait for people to approve."""

    by: list[Text] = Field(min_length=1, description="Users, groups or roles who may approve.")
    not_by: Literal["requester"] | None = Field(
        None, description="Who may not, though `by` would allow it: `requester` is who triggered the execution."
    )
    quorum: int = Field(1, ge=1, le=100, description="Number of different people who must approve.")
    question: Template | None = Field(
        None, description="What they are asked; the title if left out. May hold {{ expressions }}."
    )
    meaning: Text | None = Field(None, description="What a signature states; recorded with each answer.")
    expires: Duration | None = Field(None, description="Time to answer, for example 3d; for ever if left out.")
    on_expiry: Literal["escalate", "block", "fail"] = Field(
        "escalate",
        description="When it has expired: tell those of `escalation` and go on waiting, take no answer any more "
        "until the step is cleared, or fail the step.",
    )
    on_reject: Literal["fail", "continue"] = Field(
        "fail", description="A rejection fails the step, or is its `choice`, for `when` of later steps."
    )


class Command(Model):
    """A program in a container of its own."""

    image: Text | None = Field(
        None, description="Container image; the runner's own if left out. Needs the kubernetes or docker runtime.",
        pattern=r"^[a-z0-9]([-a-zA-Z0-9._/:@]*[a-zA-Z0-9])?$", max_length=512,
    )  # fmt: skip
    command: list[Template] | None = Field(
        None, min_length=1, description="Program and its first arguments; the image's entry point if left out."
    )
    args: list[str] = Field(default_factory=list, description="Arguments. May hold {{ expressions }}.")
    env: dict[EnvName, str] = Field(
        default_factory=dict, description="Environment variables. Values may hold {{ expressions }}."
    )

    @model_validator(mode="after")
    def _something_to_run(self) -> Command:
        if self.image is None and self.command is None:
            raise PydanticCustomError("missing_one", "a command needs `image` or `command`")
        return self


class _Work(Model):
    """What steps and rollback steps share."""

    title: Text | None = Field(None, description="Name for people.")
    tool: ToolName | None = Field(None, description="Tool to call, `<data source>.<tool>`.")
    arguments: dict[str, Any] = Field(
        default_factory=dict, description="Arguments of `tool`; every text in them may hold {{ expressions }}."
    )
    compute: dict[Identifier, Expression] | None = Field(
        None, min_length=1, description="Name of each output and the expression that gives it."
    )
    command: Command | None = Field(None, description="Program to run.")
    timeout: Duration | None = Field(None, description="Limit of one attempt, for example 10m.")
    resources: Resources | None = Field(None, description="Resources of one attempt; what is left out is the SOP's.")
    retry: Retry | None = Field(None, description="Retries after transient failures.")
    outputs: Schema | None = Field(
        None, description="JSON Schema of the result; a result that breaks it fails the step."
    )

    @property
    def tool_name(self) -> tuple[str, str] | None:
        """Data source and tool that `tool` names."""
        if self.tool is None:
            return None
        source, _, tool = self.tool.partition(".")
        return source, tool

    @property
    def kind(self) -> StepKind:
        """The one kind of the step."""
        return next(kind for kind in STEP_KINDS if getattr(self, kind, None) is not None)

    @model_validator(mode="after")
    def _exactly_one_kind(self) -> _Work:
        kinds = [kind for kind in STEP_KINDS if getattr(self, kind, None) is not None]
        if len(kinds) != 1:
            raise PydanticCustomError("step_kind", "a step has exactly one kind")
        return self


class Step(_Work):
    """One unit of work."""

    model_config = ConfigDict(json_schema_extra=_one_of(STEP_KINDS))

    id: StepId = Field(description="Name of the step; expressions read its outputs as `steps.<id>`.")
    needs: list[StepId] = Field(default_factory=list, description="Steps that must have ended before.")
    when: Expression | None = Field(None, description="Expression; when it is false the step is skipped.")
    for_each: Expression | None = Field(
        None, description="Expression that gives a list; the step runs once for each `item` of it."
    )
    guidance: Template | None = Field(None, description="Text for the agent or person. May hold {{ expressions }}.")
    decision: Decision | None = Field(None, description="A choice between options.")
    agent: AgentStep | None = Field(None, description="Work for an agent.")
    approval: Approval | None = Field(None, description="A wait for people to approve.")


class RollbackStep(_Work):
    """What undoes a step, when the execution fails after the step had succeeded."""

    model_config = ConfigDict(json_schema_extra=_one_of(ROLLBACK_KINDS))

    id: StepId = Field(description="Name of the rollback step, different from every step's.")
    after: StepId = Field(description="The step it undoes.")
