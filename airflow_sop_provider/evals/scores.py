"""From what an execution came to, to what its case scores; and from all cases to the four shares."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from pydantic import BaseModel, ConfigDict

from airflow_sop_provider.evals.compare import applied, differs
from airflow_sop_provider.evals.models import Case, Suite, Thresholds
from airflow_sop_provider.evals.paths import MISSING, select
from airflow_sop_provider.evals.trace import Trace

__all__ = ["METRICS", "CaseResult", "Check", "Summary", "ToolScore", "score", "summarise"]

METRICS = ("task_success", "execution_completion", "conditional_success", "tool_accuracy")


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Check(_Model):
    """One expectation and whether it was met; `why` says what is different."""

    what: str
    ok: bool
    actual: Any = None
    why: str | None = None


class ToolScore(_Model):
    """Tools by name: each counts once, however often it was called."""

    expected: list[str]
    called: list[str]

    @property
    def both(self) -> int:
        """Tools expected and called."""
        return len(set(self.expected) & set(self.called))

    @property
    def either(self) -> int:
        """Tools expected or called."""
        return len(set(self.expected) | set(self.called))

    @property
    def accuracy(self) -> float:
        """Share of both in either; 1 if there is none."""
        return self.both / self.either if self.either else 1.0


class CaseResult(_Model):
    """What one case came to.

    :param completed: the execution ended as the case expects, by default COMPLETED.
    :param success: so it did, and every expected output and decision is there.
    :param tools: None where the case expects nothing of tools.
    """

    id: str
    status: str
    completed: bool
    success: bool
    checks: list[Check]
    tools: ToolScore | None = None
    failures: dict[str, str]
    seconds: float
    execution: str | None = None


class Summary(_Model):
    """The shares, 0 to 1; None where there is nothing they could be a share of."""

    cases: int
    task_success: float | None
    execution_completion: float | None
    conditional_success: float | None
    tool_accuracy: float | None
    below: list[str] = []

    @property
    def ok(self) -> bool:
        """Whether every threshold is reached."""
        return not self.below


def score(case: Case, trace: Trace, suite: Suite) -> CaseResult:
    """Return what a case scores."""
    wanted = case.expect
    completed = trace.status == wanted.status
    checks = [Check(what="status", ok=completed, actual=str(trace.status),
                    why=None if completed else f"expected {wanted.status}")]  # fmt: skip
    for path, comparison in wanted.outputs.items():
        actual = select(path, trace.outputs)
        why = differs(actual, applied(comparison, suite.compare.get(path)))
        checks.append(Check(what=path, ok=why is None, actual=None if actual is MISSING else actual, why=why))
    for step, option in wanted.decisions.items():
        choice = trace.choice(step)
        why = None if choice == option else f"expected `{option}`"
        checks.append(Check(what=f"decision {step}", ok=why is None, actual=choice, why=why))
    tools = None
    if wanted.tools is not None:
        tools = ToolScore(expected=sorted(set(wanted.tools)), called=sorted(set(trace.tools)))
    return CaseResult(
        id=case.id, status=str(trace.status), completed=completed, success=all(check.ok for check in checks),
        checks=checks, tools=tools, failures=dict(trace.failures), seconds=round(trace.seconds, 4),
        execution=trace.execution,
    )  # fmt: skip


def summarise(results: Iterable[CaseResult], thresholds: Thresholds) -> Summary:
    """Return the shares over all cases, and which of them are below their threshold."""
    listed = list(results)
    completed = [result for result in listed if result.completed]
    tools = [result.tools for result in listed if result.tools is not None]
    shares = {
        "task_success": _share(sum(result.success for result in listed), len(listed)),
        "execution_completion": _share(len(completed), len(listed)),
        "conditional_success": _share(sum(result.success for result in completed), len(completed)),
        "tool_accuracy": _share(sum(one.both for one in tools), sum(one.either for one in tools)),
    }
    least = thresholds.model_dump()
    below = [name for name, share in shares.items() if least[name] is not None and (share or 0.0) < least[name]
             and not (share is None and name == "tool_accuracy" and not tools)]  # fmt: skip
    return Summary(cases=len(listed), below=below, **shares)


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None
