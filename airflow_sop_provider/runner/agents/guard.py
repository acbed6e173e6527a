"""What an agent may do, enforced: whatever its model was told by the data it read, a call outside the SOP is not made.

Every function call passes here before it is made: the function must be one of the agent's, the arguments must fit
its schema, the SOP must allow the call now, and the budget must cover it. A refusal goes back to the model with the
reason; a model that keeps on is ended.
"""

from __future__ import annotations

import asyncio
import json
from typing import Any

from google.adk.agents.callback_context import CallbackContext
from google.adk.models.llm_request import LlmRequest
from google.adk.models.llm_response import LlmResponse
from google.adk.plugins.base_plugin import BasePlugin
from google.adk.tools.base_tool import BaseTool
from google.adk.tools.tool_context import ToolContext

from airflow_sop_provider.contract.exit_codes import ErrorType
from airflow_sop_provider.runner.agents.checkpoint import Call
from airflow_sop_provider.runner.agents.model_failures import of_code
from airflow_sop_provider.runner.agents.sources import SourceTool
from airflow_sop_provider.runner.agents.untrusted import labelled
from airflow_sop_provider.runner.agents.work import Work
from airflow_sop_provider.runner.failures import StepFailureError, bad_data, not_allowed
from airflow_sop_provider.runner.outputs import violation

__all__ = ["MAX_REFUSALS", "MAX_SAME_CALLS", "GuardPlugin"]

MAX_REFUSALS = 10
"""Calls of one attempt that are refused before the agent is ended."""

MAX_SAME_CALLS = 5
"""Times in a row that an agent may make the very same call."""


class GuardPlugin(BasePlugin):
    """Refuses, counts and notes calls.

    :param expected: every function that the model must be offered.
    """

    def __init__(self, work: Work, expected: frozenset[str]) -> None:
        super().__init__("guard")
        self._work = work
        self._expected = expected
        self._calls: dict[str, Call] = {}
        self._refused: set[str] = set()
        self._last: tuple[str, int] = ("", 0)

    async def before_model_callback(self, *, callback_context: CallbackContext, llm_request: LlmRequest) -> None:
        """Count a call of the model; end the agent if a limit is reached or a function is missing."""
        missing = self._expected - set(llm_request.tools_dict)
        if missing:
            raise bad_data("agent-functions-missing", f"The model would not be offered {', '.join(sorted(missing))}.")
        self._work.meter.model_call()
        self._limit(self._work.answer_seconds)

    async def after_model_callback(self, *, callback_context: CallbackContext, llm_response: LlmResponse) -> None:
        """Count the tokens of an answer; an answer that is an error ends the agent."""
        self._limit(None)
        usage = llm_response.usage_metadata
        if usage is not None:
            output = (usage.candidates_token_count or 0) + (usage.thoughts_token_count or 0)
            self._work.meter.answer(usage.prompt_token_count or 0, output)
        if self._work.meter.limited:
            await self._work.journal.save()  # what is spent counts even if this attempt is killed now
        if llm_response.error_code:
            raise of_code(str(llm_response.error_code), llm_response.error_message, self._work.config.model)

    async def before_tool_callback(
        self, *, tool: BaseTool, tool_args: dict[str, Any], tool_context: ToolContext
    ) -> dict[str, Any] | None:
        """Refuse a call that the SOP does not allow, answer one that was answered before, note any other."""
        call_id = str(tool_context.function_call_id)
        self._count_same(tool.name, tool_args)
        if type(tool) is BaseTool:  # ADK's stand-in for a function that does not exist
            self._count_refusal(f"It called `{tool.name}`, which does not exist.", "agent-invented-tool")
            return None
        reason = self._misfit(tool, tool_args)
        if reason is None and isinstance(tool, SourceTool) and self._work.procedure is not None:
            reason = self._work.procedure.refuse_call(tool.source_tool, tool_args, effect=tool.effect)
        if reason is not None:
            self._work.outcomes[call_id] = "refused"
            self._refused.add(call_id)
            self._count_refusal(reason, "agent-not-allowed")
            return {"error": f"Not allowed: {reason}", **self._status()}
        if isinstance(tool, SourceTool):
            return await self._begin(tool, tool_args, call_id)
        return None

    async def after_tool_callback(
        self, *, tool: BaseTool, tool_args: dict[str, Any], tool_context: ToolContext, result: Any
    ) -> dict[str, Any] | None:
        """Keep what a data source returned, and hand it to the model as data."""
        call_id = str(tool_context.function_call_id)
        if self._work.outcomes.get(call_id) == "refused":
            if call_id not in self._refused:  # by the function itself
                self._count_refusal(str(result.get("error")), "agent-not-allowed")
            return None
        if not isinstance(tool, SourceTool) or self._work.outcomes.get(call_id) == "failed":
            return None
        replayed = self._work.outcomes.get(call_id) == "replayed"
        value = result["replayed"] if replayed else result
        if not replayed:
            await self._work.journal.end(self._calls.pop(call_id), value)
        await self._complete(tool, value)
        return {**labelled(value), **self._status()}

    async def on_tool_error_callback(
        self, *, tool: BaseTool, tool_args: dict[str, Any], tool_context: ToolContext, error: BaseException
    ) -> dict[str, Any] | None:
        """Tell an agent's own step that a tool failed; a failure of anything else ends the agent."""
        call = self._calls.pop(str(tool_context.function_call_id), None)
        if call is None or not isinstance(error, StepFailureError):
            return None
        if error.code in ("mcp-tool-error", "mcp-invalid-arguments"):
            await self._work.journal.fail(call)
            procedure = self._work.procedure
            own_step = procedure is not None and procedure.completes(call.tool) is not None
            if not own_step and error.error_type == ErrorType.PERMANENT:
                self._work.outcomes[str(tool_context.function_call_id)] = "failed"
                return {"error": "The tool failed.", **labelled(error.message), **self._status()}
        elif not call.effect:
            await self._work.journal.forget(call)
        return None

    def _misfit(self, tool: BaseTool, args: dict[str, Any]) -> str | None:
        schema = getattr(tool, "schema", None)
        if schema is None:
            return None  # ADK's own, which checks for itself
        found = violation(args, schema, code="mcp-schema-invalid", what=f"The input schema of `{tool.name}`")
        return None if found is None else f"the arguments break the schema of `{tool.name}` at `{found[0]}`: {found[1]}"

    async def _begin(self, tool: SourceTool, args: dict[str, Any], call_id: str) -> dict[str, Any] | None:
        step = self._work.step_of(tool.source_tool)
        before = self._work.journal.answered(step, tool.source_tool, args)
        if before is not None:
            self._work.outcomes[call_id] = "replayed"
            return {"replayed": before.result}
        self._work.meter.tool_call()
        call = await self._work.journal.begin(step, tool.source_tool, args, effect=tool.effect)
        self._calls[call_id] = call
        self._work.ordinals[call_id] = call.ordinal
        return None

    async def _complete(self, tool: SourceTool, value: Any) -> None:
        procedure = self._work.procedure
        step = procedure.completes(tool.source_tool) if procedure is not None else None
        if procedure is not None and step is not None:
            procedure.check(step, value)
            await self._work.journal.step_done(step, value)

    def _status(self) -> dict[str, Any]:
        return self._work.procedure.status() if self._work.procedure is not None else {}

    def _count_same(self, name: str, args: dict[str, Any]) -> None:
        this = f"{name} {json.dumps(args, sort_keys=True, default=str)}"
        last, times = self._last
        self._last = (this, times + 1 if this == last else 1)
        if self._last[1] > MAX_SAME_CALLS:
            raise bad_data("agent-loop", f"The agent called `{name}` over and over with the same arguments.")

    def _count_refusal(self, reason: str, code: str) -> None:
        self._work.refusals += 1
        if self._work.refusals > MAX_REFUSALS:
            raise not_allowed(code, f"The agent was ended after {MAX_REFUSALS} refused calls; the last: {reason}")

    def _limit(self, seconds: float | None) -> None:
        """Limit what is under way to ``seconds`` and to what is left of the budget's time."""
        if self._work.clock is None:
            return
        limits = [limit for limit in (seconds, self._work.meter.seconds_left) if limit is not None]
        now = asyncio.get_running_loop().time()
        self._work.clock.reschedule(now + max(0.0, min(limits)) if limits else None)
