"""The SOP language as models: what the YAML says, with types (design, section 6).

Models are immutable and accept nothing they do not know. They check one field at a time; what
concerns several fields, or the text itself, is in `sop.checks`, which sees the whole document and
knows where everything stands.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from airflow_sop_provider.sop.agent_models import AgentConfig, Budget
from airflow_sop_provider.sop.fields import (
    BareToolName,
    DottedPath,
    Duration,
    Identifier,
    Model,
    SopId,
    SourceName,
    Text,
    Version,
)
from airflow_sop_provider.sop.step_models import (
    AgentStep,
    Approval,
    Command,
    Decision,
    Resources,
    Retry,
    RollbackStep,
    Step,
    StepKind,
)

__all__ = [
    "AgentConfig",
    "AgentStep",
    "Approval",
    "Budget",
    "Command",
    "DataSource",
    "Decision",
    "Escalation",
    "Mode",
    "Priority",
    "Resources",
    "Retry",
    "RollbackStep",
    "Schedule",
    "Sop",
    "Step",
    "StepKind",
]

MAX_STEPS = 1000
"""Most steps of an SOP; Airflow's graph and scheduler are no use far below."""

Mode = Literal["auto", "system_design", "agent_centric"]
Priority = Literal["critical", "high", "normal", "low"]


class DataSource(Model):
    """An MCP server of the fleet and the tools of it that this SOP may call."""

    server: Text = Field(description="Name of the server in the fleet.", pattern=r"^[a-z0-9]([-a-z0-9_.]*[a-z0-9])?$")
    tools: list[BareToolName] = Field(min_length=1, description="Tools the SOP may call; nothing else is allowed.")


class Schedule(Model):
    """When executions start by themselves."""

    cron: Text = Field(description="Cron expression of five fields, or @hourly, @daily, @weekly, @monthly, @yearly.")
    timezone: Text = Field("UTC", description="Time zone of the cron expression, IANA name, for example Europe/Berlin.")
    window: Duration | None = Field(None, description="An execution starts within this time after the cron's, or not.")
    catchup: bool = Field(False, description="Whether executions missed while nothing ran are made up for.")


class Escalation(Model):
    """Whom to tell when an execution fails for good."""

    notifier: DottedPath = Field(description="Airflow notifier, dotted path of its class.")
    kwargs: dict[str, Any] = Field(default_factory=dict, description="Keyword arguments of the notifier.")


class Sop(Model):
    """A standard operating procedure."""

    sop: SopId = Field(description="Unique id, a DNS label; the id of the DAG.")
    version: Version = Field(description='Version of the procedure, for example 2.1.0; quote a bare number: "2.1".')
    title: Text = Field(description="Name for people, one line.")
    apiVersion: Literal["sop/v1"] = Field("sop/v1", description="Version of the SOP language.")
    control: Text | None = Field(None, description="Control that the procedure evidences, for example AP-017.")
    control_type: Text | None = Field(
        None, description="Group of controls that share expected duration and resource history."
    )
    owner: Text | None = Field(None, description="Who answers for the procedure.")
    mode: Mode = Field("auto", description="auto: agent_centric if no step has `needs`, else system_design.")
    priority: Priority = Field("normal", description="Priority among waiting executions.")
    expected_duration: Duration | None = Field(
        None, description="How long an execution usually takes; more than twice as long raises an alert."
    )
    inputs: dict[Identifier, dict[str, Any]] = Field(
        default_factory=dict,
        description="JSON Schema of each input; the trigger form. An input without `default` is required.",
    )
    data_sources: dict[SourceName, DataSource] = Field(
        default_factory=dict, description="What the SOP may touch in the fleet, nothing else."
    )
    agent: AgentConfig | None = Field(None, description="Model of the SOP's agents; the deployment's if left out.")
    resources: Resources | None = Field(None, description="Resources of one attempt of each step.")
    schedule: Schedule | None = Field(None, description="When executions start by themselves; never if left out.")
    escalation: list[Escalation] = Field(default_factory=list, description="Whom to tell when an execution fails.")
    guidance: Text | None = Field(None, description="Text that every agent of this SOP is given.")
    steps: list[Step] = Field(
        min_length=1, max_length=MAX_STEPS, description="The steps; their order is given by `needs`."
    )
    rollback: list[RollbackStep] = Field(
        default_factory=list, max_length=MAX_STEPS, description="Steps that undo others when the execution fails."
    )

    def step(self, step_id: str) -> Step:
        """Return the step of that id.

        :raises KeyError: there is none.
        """
        for step in self.steps:
            if step.id == step_id:
                return step
        raise KeyError(step_id)
