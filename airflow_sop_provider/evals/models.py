"""What stands in a suite and its tables: models as strict as those of the SOP language, told with the same errors."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator
from pydantic_core import PydanticCustomError

from airflow_sop_provider.contract.exit_codes import ErrorType
from airflow_sop_provider.engine.execution_state import ExecutionStatus
from airflow_sop_provider.evals.paths import compile_path
from airflow_sop_provider.sop.fields import Model, SopId, StepId, Text, ToolName

__all__ = ["Case", "Comparison", "Expected", "How", "RecordedError", "RecordedResult", "Suite", "Thresholds"]

Share = Annotated[float, Field(ge=0, le=1)]


def _path(value: Any) -> Any:
    if isinstance(value, str):
        try:
            compile_path(value)
        except ValueError as error:
            raise PydanticCustomError("value_error", "{reason}", {"reason": str(error)}) from None
    return value


OutputPath = Annotated[str, BeforeValidator(_path)]
"""JSON path into the steps' outputs: `report.verdict` is `$.report.verdict`."""


class Comparison(Model):
    """What an output must be; one way of comparing, and `equals` for a value that is itself a mapping."""

    equals: Any = Field(None, description="The same JSON value.")
    near: float | None = Field(None, description="A number, at most `tolerance` (or `relative`, a share of it) away.")
    tolerance: float | None = Field(None, ge=0, description="Of `near`: largest difference.")
    relative: float | None = Field(None, ge=0, description="Of `near`: largest difference, as a share of it.")
    matches: str | None = Field(None, description="Text that the regular expression matches as a whole.")
    set: list[Any] | None = Field(None, description="A list of the same elements in any order, doubles counted once.")
    contains: list[Any] | None = Field(None, description="A list that has at least these elements, or text with them.")
    one_of: list[Any] | None = Field(None, description="Any of these values.")
    absent: bool | None = Field(None, description="true: there is no such output.")

    @property
    def way(self) -> str:
        """Name of the one comparison."""
        return next(name for name in _WAYS if name in self.model_fields_set)

    @model_validator(mode="after")
    def _one_way(self) -> Comparison:
        given = [name for name in _WAYS if name in self.model_fields_set]
        if len(given) != 1:
            raise PydanticCustomError(
                "value_error", "a comparison has exactly one of {ways}", {"ways": ", ".join(_WAYS)}
            )
        if given != ["near"] and {"tolerance", "relative"} & self.model_fields_set:
            raise PydanticCustomError("value_error", "`tolerance` and `relative` belong to `near`")
        _check_regex(self.matches)
        return self


_WAYS = ("equals", "near", "matches", "set", "contains", "one_of", "absent")


def _check_regex(pattern: str | None) -> None:
    import re

    try:
        re.compile(pattern or "")
    except (re.error, OverflowError, RecursionError) as error:
        raise PydanticCustomError(
            "value_error", "`matches` is no regular expression: {reason}", {"reason": str(error)}
        ) from None


def _comparison(value: Any) -> Any:
    return value if isinstance(value, dict | Comparison) else {"equals": value}


class How(Model):
    """How bare values of one path are compared in all cases."""

    way: Literal["equals", "near", "matches", "set", "contains"] = Field("equals", description="The comparison.")
    tolerance: float | None = Field(None, ge=0, description="Of `near`: largest difference.")
    relative: float | None = Field(None, ge=0, description="Of `near`: largest difference, as a share.")


class Expected(Model):
    """What a case must come to; what is not named is not looked at."""

    status: ExecutionStatus = Field(ExecutionStatus.COMPLETED, strict=False, description="How the execution ends.")
    outputs: dict[OutputPath, Annotated[Comparison, BeforeValidator(_comparison)]] = Field(
        default_factory=dict, description="JSON path into the steps' outputs: a value, or a comparison."
    )
    decisions: dict[StepId, str] = Field(default_factory=dict, description="Step: the option it must choose.")
    tools: list[ToolName] | None = Field(None, description="Tools that must be called, and no others.")


class RecordedError(Model):
    """How a recorded call failed."""

    type: ErrorType = Field(ErrorType.PERMANENT, strict=False, description="permanent, or transient: tried again.")
    message: Text = Field("the recorded call failed", description="What the tool said.")


class RecordedResult(Model):
    """What a tool answered once, and answers again in the suite."""

    tool: ToolName = Field(description="`<data source>.<tool>`.")
    arguments: dict[str, Any] | None = Field(None, description="Answers only a call with just these; any if left out.")
    result: Any = Field(None, description="The result.")
    error: RecordedError | None = Field(None, description="Or how it failed.")
    times: int | None = Field(None, ge=1, description="Answers so many calls of an execution; all if left out.")


class Case(Model):
    """One row of the table: inputs of an execution and what is expected of it."""

    id: Annotated[str, Field(pattern=r"^[A-Za-z0-9][-A-Za-z0-9_.]{0,99}$")] = Field(description="Name of the case.")
    inputs: dict[str, Any] = Field(default_factory=dict, description="The execution's conf.")
    expect: Expected = Field(default_factory=Expected, description="What it must come to.")
    recorded: list[RecordedResult] = Field(default_factory=list, description="Answers before the suite's.")
    approvals: dict[StepId, Literal["approved", "rejected"]] = Field(
        default_factory=dict, description="What people answer, by `approval` step."
    )


class Thresholds(Model):
    """Least shares, 0 to 1, for exit code 0."""

    task_success: Share | None = Field(1.0, description="Cases with all expectations met, of all.")
    execution_completion: Share | None = Field(None, description="Cases that ended as they should, of all.")
    conditional_success: Share | None = Field(
        None, description="Cases with all expectations met, of those that ended so."
    )
    tool_accuracy: Share | None = Field(None, description="Tools both expected and called, of those that were either.")


class Suite(Model):
    """A suite: an SOP, cases, and how much must hold. Paths are relative to the suite's file."""

    suite: SopId = Field(description="Name of the suite.")
    sop: Text = Field(description="Path of the SOP.")
    cases: list[Case] = Field(default_factory=list, description="Cases written here.")
    cases_file: Text | None = Field(None, description="Path of a table of cases, .jsonl or .csv.")
    recorded: list[RecordedResult] = Field(default_factory=list, description="Recorded results of tools.")
    recorded_file: Text | None = Field(None, description="Path of recorded results, .jsonl.")
    fleet: Text | None = Field(None, description="fleet.yaml with servers for calls that no recorded result answers.")
    models: Text | None = Field(None, description="models.yaml of its agents, where SOP_MODELS names none.")
    run_after: Text | None = Field(None, description="`execution.run_after` of every case, ISO 8601; now if left out.")
    compare: dict[OutputPath, How] = Field(default_factory=dict, description="How bare values of a path are compared.")
    thresholds: Thresholds = Field(default_factory=Thresholds, description="What decides the exit code.")
