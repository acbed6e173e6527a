"""What the agents of an execution spent, and the limits of it.

A budget is the execution's: what its other steps spent counts, as the engine last said, and is not counted again here.

Spending is counted before it happens where that can be known (calls) and right after where it cannot (tokens, cost,
time); the next call is refused once a limit is reached. What earlier attempts spent comes from the checkpoint.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from pydantic import BaseModel, ConfigDict

from airflow_sop_provider.contract.exit_codes import ErrorType, ExitCode
from airflow_sop_provider.runner.agents.site import Prices
from airflow_sop_provider.runner.failures import StepFailureError
from airflow_sop_provider.sop.agent_models import Budget

__all__ = ["DEFAULT_MODEL_CALLS", "Meter", "Spent"]

DEFAULT_MODEL_CALLS = 500
"""Calls of the model where the SOP sets no limit: an agent that goes round in circles must end."""


class Spent(BaseModel):
    """What was spent so far; ``seconds`` is the time that agents worked."""

    model_config = ConfigDict(extra="forbid")

    input_tokens: int = 0
    output_tokens: int = 0
    model_calls: int = 0
    tool_calls: int = 0
    cost: float = 0.0
    repairs: int = 0
    seconds: float = 0.0


class Meter:
    """Counts and limits what one attempt spends on top of what was spent before.

    :param prices: of the model; None: cost is not known, and a limit of it cannot be kept.
    :param elsewhere: returns what agents of the execution's other steps have spent.
    """

    def __init__(
        self, budget: Budget, spent: Spent, prices: Prices | None, elsewhere: Callable[[], Spent] = Spent
    ) -> None:
        self._elsewhere = elsewhere
        self._budget = budget
        self._prices = prices
        self._spent = spent
        self._before = spent.seconds
        self._started = time.monotonic()
        if budget.cost is not None and prices is None:
            raise StepFailureError(
                ErrorType.PERMANENT,
                ExitCode.BAD_CONFIGURATION,
                "no-prices",
                "The SOP limits the cost, and models.yaml has no prices of its model. Add them, or limit tokens.",
            )

    @property
    def spent(self) -> Spent:
        """What was spent, up to now."""
        self._spent.seconds = round(self._before + time.monotonic() - self._started, 3)
        return self._spent

    @property
    def seconds_left(self) -> float | None:
        """Seconds that agents may go on working, None without a limit."""
        limit = self._budget.time
        return None if limit is None else limit.total_seconds() - self.spent.seconds - self._elsewhere().seconds

    @property
    def limited(self) -> bool:
        """Whether the SOP sets any limit."""
        return any(limit is not None for limit in self._budget.model_dump().values())

    def model_call(self) -> None:
        """Count a call of the model.

        :raises StepFailureError: exit 69 (``agent-budget``) if a limit is reached.
        """
        self._check(model_calls=1)
        self._spent.model_calls += 1

    def tool_call(self) -> None:
        """Count a call of a data source.

        :raises StepFailureError: as `model_call`.
        """
        self._check(tool_calls=1)
        self._spent.tool_calls += 1

    def repair(self) -> None:
        """Count that the model is asked again because its answer did not fit."""
        self._spent.repairs += 1

    def answer(self, input_tokens: int, output_tokens: int) -> None:
        """Count the tokens of one answer."""
        self._spent.input_tokens += input_tokens
        self._spent.output_tokens += output_tokens
        if self._prices is not None:
            self._spent.cost = round(self._spent.cost + self._prices.of(input_tokens, output_tokens), 9)

    def usage(self) -> dict[str, Any]:
        """Return what the verdict's usage says of it."""
        spent = self.spent
        return {
            **spent.model_dump(exclude={"seconds", "cost"}),
            "cost": None if self._prices is None else spent.cost,
            "agent_seconds": spent.seconds,
        }

    def _check(self, *, model_calls: int = 0, tool_calls: int = 0) -> None:
        spent, budget = _sum(self.spent, self._elsewhere()), self._budget
        calls = budget.model_calls if budget.model_calls is not None else DEFAULT_MODEL_CALLS
        seconds = budget.time.total_seconds() if budget.time is not None else None
        _limit("model calls", spent.model_calls + model_calls, calls)
        _limit("tool calls", spent.tool_calls + tool_calls, budget.tool_calls)
        _reached("tokens", spent.input_tokens + spent.output_tokens, budget.tokens)
        _reached("cost", spent.cost, budget.cost)
        _reached("seconds", spent.seconds, seconds)


def _sum(one: Spent, other: Spent) -> Spent:
    added = {name: getattr(one, name) + getattr(other, name) for name in Spent.model_fields}
    return Spent.model_construct(**added)


def _limit(what: str, wanted: float, limit: float | None) -> None:
    if limit is not None and wanted > limit:
        raise spent_up(what, limit)


def _reached(what: str, spent: float, limit: float | None) -> None:
    if limit is not None and spent >= limit:
        raise spent_up(what, limit)


def spent_up(what: str, limit: float) -> StepFailureError:
    """Return the failure of an execution whose budget is used up."""
    return StepFailureError(
        ErrorType.PERMANENT,
        ExitCode.NOT_RETRYABLE,
        "agent-budget",
        f"The execution's budget of {limit:g} {what} is used up. Raise `agent.budget` of the SOP, "
        "or look at what its agents did.",
        {"budget": what, "limit": limit},
    )
