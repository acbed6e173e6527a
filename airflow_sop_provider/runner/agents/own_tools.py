"""What the agent of a whole SOP can do besides asking data sources: say how it goes, decide, report a step and the end.

Each checks what it is told against the SOP and answers a wrong call with the reason, so that the model can correct
itself; what is accepted is kept before the answer goes back.
"""

from __future__ import annotations

from typing import Any

from google.adk.tools.base_tool import BaseTool
from google.adk.tools.tool_context import ToolContext
from google.genai import types

from airflow_sop_provider.runner.agents.procedure import Procedure
from airflow_sop_provider.runner.agents.untrusted import labelled
from airflow_sop_provider.runner.agents.work import Work
from airflow_sop_provider.runner.failures import StepFailureError
from airflow_sop_provider.runner.values import to_json

__all__ = ["own_tools"]

_TEXT = {"type": "string", "minLength": 1}
_STEP = {**_TEXT, "description": "id of the step"}


class _OwnTool(BaseTool):
    def __init__(self, work: Work, name: str, description: str, properties: dict[str, Any], optional: str = "") -> None:
        super().__init__(name=name, description=description)
        self._work = work
        required = [key for key in properties if key != optional]
        self.schema = {
            "type": "object", "properties": properties, "required": required, "additionalProperties": False,
        }  # fmt: skip

    @property
    def _procedure(self) -> Procedure:
        assert self._work.procedure is not None
        return self._work.procedure

    def _get_declaration(self) -> types.FunctionDeclaration:
        return types.FunctionDeclaration(
            name=self.name, description=self.description, parameters_json_schema=self.schema
        )

    def _refused(self, tool_context: ToolContext, reason: str) -> dict[str, Any]:
        self._work.outcomes[str(tool_context.function_call_id)] = "refused"
        return {"error": reason, **self._procedure.status()}

    async def _done(self, name: str, outputs: Any) -> dict[str, Any]:
        self._procedure.check(name, outputs)
        await self._work.journal.step_done(name, outputs)
        return {"recorded": name, **self._procedure.status()}


class _ReportStatus(_OwnTool):
    async def run_async(self, *, args: dict[str, Any], tool_context: ToolContext) -> Any:
        return self._procedure.status()


class _LogDecision(_OwnTool):
    async def run_async(self, *, args: dict[str, Any], tool_context: ToolContext) -> Any:
        name, choice = args["step"], args["choice"]
        reason = self._procedure.refuse_step(name, ("decision",))
        if reason is not None:
            return self._refused(tool_context, reason)
        step = self._procedure.step(name)
        assert step is not None
        options: dict[str, Any] = step["decision"]["options"]
        ruled = self._procedure.ruled(step)
        if choice not in options:
            return self._refused(tool_context, f"`{choice}` is no option of `{name}`: {', '.join(options)}.")
        if ruled is not None and choice != ruled:
            return self._refused(tool_context, f"The rule of `{name}` decides `{ruled}`.")
        outputs = {key: args[key] for key in ("choice", "rationale", "evidence", "confidence")}
        return await self._done(name, {**outputs, "by": "agent" if ruled is None else "rule", "options": list(options)})


class _ReportStep(_OwnTool):
    async def run_async(self, *, args: dict[str, Any], tool_context: ToolContext) -> Any:
        name = args["step"]
        reason = self._procedure.refuse_step(name, ("agent", "compute"))
        if reason is not None:
            return self._refused(tool_context, reason)
        step = self._procedure.step(name)
        assert step is not None
        if step.get("compute") is not None:
            computed = self._procedure.computed(step)
            return {**await self._done(name, computed), **labelled(computed)}  # what comes next may rest on it
        if args.get("outputs") is None:
            return self._refused(tool_context, f"`outputs` of step `{name}` are missing.")
        outputs = to_json(args["outputs"], "outputs")
        if isinstance(outputs, str) and step.get("outputs") is None:
            outputs = {"text": outputs}
        try:
            return await self._done(name, outputs)
        except StepFailureError as failure:  # the model's answer does not fit: it may correct it
            self._work.meter.repair()
            return self._refused(tool_context, failure.message)


class _ReportResult(_OwnTool):
    async def run_async(self, *, args: dict[str, Any], tool_context: ToolContext) -> Any:
        if not self._procedure.complete:
            left = ", ".join(str(step["id"]) for step in self._procedure.ready)
            return self._refused(tool_context, f"Not every step is done; next: {left}.")
        self._work.result = {"summary": args["summary"]}
        tool_context.actions.skip_summarization = True
        return {"accepted": True}


def own_tools(work: Work) -> list[BaseTool]:
    """Return the functions of `names.OWN_FUNCTIONS`."""
    confidence = {"type": "number", "minimum": 0, "maximum": 1}
    evidence = {"type": "array", "items": {"type": "string"}, "minItems": 1}
    decision = {"step": _STEP, "choice": _TEXT, "rationale": _TEXT, "evidence": evidence, "confidence": confidence}
    return [
        _ReportStatus(work, "report_status", "Say how the work goes.", {"message": _TEXT}),
        _LogDecision(work, "log_decision", "Take the decision of a step, and say why.", decision),
        _ReportStep(
            work, "report_step_result", "Report the result of a step.", {"step": _STEP, "outputs": {}}, "outputs"
        ),
        _ReportResult(work, "report_result", "Report that every step is done.", {"summary": _TEXT}),
    ]
