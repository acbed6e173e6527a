"""Everything an agent does, as events for the audit log: one ADK plugin sees all of it.

It comes first in the list and always returns None: the first plugin that returns something ends the round, and an
audit must neither change what happens nor be skipped by what others do. Digests prove what was asked and answered;
contents stay out of the log.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from typing import Any

from google.adk.agents.callback_context import CallbackContext
from google.adk.models.llm_request import LlmRequest
from google.adk.models.llm_response import LlmResponse
from google.adk.plugins.base_plugin import BasePlugin
from google.adk.tools.base_tool import BaseTool
from google.adk.tools.tool_context import ToolContext

from airflow_sop_provider.contract.conformance import Deviation
from airflow_sop_provider.contract.engine_access import access_event
from airflow_sop_provider.runner.agents.sources import SourceTool
from airflow_sop_provider.runner.agents.work import Work
from airflow_sop_provider.runner.failures import StepFailureError
from airflow_sop_provider.runner.values import check_size, digest

__all__ = ["AuditPlugin"]


class AuditPlugin(BasePlugin):
    """Emits ``agent.model_call``, ``agent.tool_call``, ``agent.status``, ``agent.result``, ``decision`` and,
    for a call to a data source, ``data.access`` or ``tool.call`` (`access_event`).
    """

    def __init__(self, work: Work) -> None:
        super().__init__("audit")
        self._work = work
        self._began: dict[str, float] = {}
        self._step_of: dict[str, str] = {}
        self._model_began = 0.0
        self.trace: list[dict[str, Any]] = []
        """What was recorded, for the check of conformance."""

    async def before_model_callback(self, *, callback_context: CallbackContext, llm_request: LlmRequest) -> None:
        """Note when the model was asked."""
        self._model_began = time.monotonic()

    async def after_model_callback(self, *, callback_context: CallbackContext, llm_response: LlmResponse) -> None:
        """Record one answer of the model."""
        usage = llm_response.usage_metadata
        content = llm_response.content
        calls = [part.function_call.name for part in (content and content.parts) or () if part.function_call]
        self._emit(
            "agent.model_call",
            self._work.current_step,
            model=self._work.config.model,
            input_tokens=(usage and usage.prompt_token_count) or 0,
            output_tokens=(usage and usage.candidates_token_count) or 0,
            functions=calls,
            error=llm_response.error_code,
            duration_seconds=self._since(self._model_began),
        )

    async def on_model_error_callback(
        self, *, callback_context: CallbackContext, llm_request: LlmRequest, error: Exception
    ) -> None:
        """Record that the model did not answer."""
        self._emit(
            "agent.model_call",
            self._work.current_step,
            model=self._work.config.model,
            error=type(error).__name__,
            duration_seconds=self._since(self._model_began),
        )

    async def before_tool_callback(
        self, *, tool: BaseTool, tool_args: dict[str, Any], tool_context: ToolContext
    ) -> None:
        """Note when a function was called, and for which step."""
        call = str(tool_context.function_call_id)
        self._began[call] = time.monotonic()
        step = self._work.step_of(tool.source_tool) if isinstance(tool, SourceTool) else self._work.current_step
        self._step_of[call] = step

    async def after_tool_callback(
        self, *, tool: BaseTool, tool_args: dict[str, Any], tool_context: ToolContext, result: Any
    ) -> None:
        """Record a call that was answered or refused, and what it means."""
        call = str(tool_context.function_call_id)
        outcome = self._work.outcomes.setdefault(call, "answered")
        if outcome == "failed":
            return  # recorded when it did
        step = self._step_of.get(call, "")
        fields = {"function": tool.name, "arguments_digest": digest(tool_args), "outcome": outcome}
        self._emit("agent.tool_call", step, duration_seconds=self._since(self._began.get(call, 0.0)), **fields)
        if isinstance(tool, SourceTool):
            if outcome == "answered":
                proof = {"ok": True, "result_digest": digest(result), "bytes": check_size(result, limit=2**63)}
                self._access(tool, step, tool_args, call, proof)
            if outcome != "refused" and self._work.procedure and self._work.procedure.completes(tool.source_tool):
                self._emit("agent.result", step, scope="step", result_digest=digest(result))
        elif outcome == "answered":
            self._record_own(tool.name, step, tool_args)

    async def on_tool_error_callback(
        self, *, tool: BaseTool, tool_args: dict[str, Any], tool_context: ToolContext, error: BaseException
    ) -> None:
        """Record a call that failed, and one of a function that does not exist."""
        call = str(tool_context.function_call_id)
        step = self._step_of.get(call, "")
        code = error.code if isinstance(error, StepFailureError) else type(error).__name__
        self._emit(
            "agent.tool_call", step, function=tool.name, arguments_digest=digest(tool_args), outcome="failed", code=code
        )
        if isinstance(tool, SourceTool):
            self._access(tool, step, tool_args, call, {"ok": False, "code": code})

    def decided(self, outputs: dict[str, Any]) -> None:
        """Record the decision of a step that is one."""
        self._emit("decision", self._work.current_step, **outputs)

    def conformed(self, deviations: Sequence[Deviation], explanation: list[str]) -> None:
        """Record what the comparison of the trace with the SOP came to."""
        found = [{"step": one.step, "rule": one.rule, "text": one.text} for one in deviations]
        self._emit("agent.conformance", "", conforms=not found, deviations=found, explanation=explanation)

    def _record_own(self, name: str, step: str, args: dict[str, Any]) -> None:
        outputs = self._work.journal.progress.outputs
        if name == "report_status":
            self._emit("agent.status", step, message=args["message"], done=list(outputs))
        elif name == "log_decision":
            self._emit("decision", args["step"], **outputs[args["step"]])
            self._emit("agent.result", args["step"], scope="step", outputs_digest=digest(outputs[args["step"]]))
        elif name == "report_step_result":
            self._emit("agent.result", args["step"], scope="step", outputs_digest=digest(outputs[args["step"]]))
        elif name == "report_result":
            self._emit("agent.result", step, scope="sop", outputs_digest=digest(outputs))

    def _access(self, tool: SourceTool, step: str, args: dict[str, Any], call: str, proof: dict[str, Any]) -> None:
        seconds = self._since(self._began.get(call, 0.0))
        asked = {"server": tool.server, "tool": tool.tool, "arguments_digest": digest(args)}
        event = "data.access" if self._work.context.call else access_event(os.environ)
        self._emit(event, step, duration_seconds=seconds, **asked, **proof)

    def _emit(self, event: str, step: str, **fields: Any) -> None:
        self.trace.append({"event": event, "sop_step": step, **fields})
        self._work.context.events.emit(event, sop_step=step, **fields)

    @staticmethod
    def _since(began: float) -> float:
        return round(time.monotonic() - began, 3)
