"""A whole SOP while one agent carries it out: what is done, what comes next, and what the agent may do now.

The SOP decides, not the model: a step becomes current when those before it are done, its arguments are what the SOP's
expressions give, a computation is evaluated here, and a rule that decides leaves nothing to decide.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from airflow_sop_provider.contract.conformance import order_of
from airflow_sop_provider.runner.agents.names import function_names
from airflow_sop_provider.runner.agents.untrusted import labelled
from airflow_sop_provider.runner.failures import bad_data
from airflow_sop_provider.runner.outputs import check_outputs
from airflow_sop_provider.runner.values import check_size, to_json

__all__ = ["KINDS", "Procedure"]

KINDS = ("tool", "compute", "decision", "agent")
"""Kinds of step that one agent can carry out."""


class Procedure:
    """The SOP and what is done of it.

    :param sop: the whole document.
    :param names: ``inputs`` and ``execution``, as expressions read them.
    :param outputs: of steps that are done already; kept up to date by `complete`.
    """

    def __init__(self, sop: Mapping[str, Any], names: Mapping[str, Any], outputs: dict[str, Any]) -> None:
        self.sop = sop
        self.outputs = outputs
        self._names = names
        self._needs = order_of(sop, alone=True)
        self._steps: dict[str, Mapping[str, Any]] = {step["id"]: step for step in sop["steps"]}
        self._functions = function_names(self._all_tools())
        self._named = {tool for step in self._steps.values() for tool in _tools_of(step)}

    @property
    def names(self) -> dict[str, Any]:
        """What the expressions of the next step read."""
        return {**self._names, "steps": self.outputs}

    @property
    def ready(self) -> list[Mapping[str, Any]]:
        """Steps that may be worked on now, in the SOP's order."""
        return [
            step
            for name, step in self._steps.items()
            if name not in self.outputs and all(need in self.outputs for need in self._needs[name])
        ]

    @property
    def complete(self) -> bool:
        """Whether every step is done."""
        return not self.ready

    def step(self, name: str) -> Mapping[str, Any] | None:
        """Return a step by id."""
        return self._steps.get(name)

    def refuse_step(self, name: str, kinds: tuple[str, ...]) -> str | None:
        """Return why a step cannot be reported now, None if it can."""
        step = self._steps.get(name)
        if step is None:
            return f"The SOP has no step `{name}`. Its steps are {', '.join(self._steps)}."
        if name in self.outputs:
            return f"Step `{name}` is done already. {self._what_is_next()}"
        if step not in self.ready:
            return f"Step `{name}` is not to be done yet. {self._what_is_next()}"
        if kind_of(step) not in kinds:
            return f"Step `{name}` is of kind {kind_of(step)}: {_HOW[kind_of(step)]}"
        return None

    def refuse_call(self, tool: str, arguments: Mapping[str, Any], *, effect: bool) -> str | None:
        """Return why a data source may not be called so now, None if it may.

        :param tool: ``<data source>.<tool>``, one of the SOP's.
        :param effect: it may change something; a tool that no step names may only read.
        """
        if tool not in self._named:
            return f"No step calls `{tool}`, and it may change something." if effect else None
        for step in self.ready:
            if step.get("tool") == tool:
                wanted = self.arguments(step)
                if dict(arguments) == wanted:
                    return None
                return f"Step `{step['id']}` calls `{tool}` with exactly these arguments: {wanted!r}."
            if tool in _tools_of(step):
                return None
        return f"The SOP does not call `{tool}` now. {self._what_is_next()}"

    def functions_now(self, reading: Collection[str] = ()) -> frozenset[str]:
        """Return the functions that have a use now; a model that is held to them cannot leave the SOP's path.

        :param reading: functions that change nothing: those that no step names may be called at any time.
        """
        if self.complete:
            return frozenset({"report_result", "report_status"})
        unnamed = {name for tool, name in self._functions.items() if tool not in self._named}
        useful = {"report_status", *(unnamed & set(reading))}
        for step in self.ready:
            useful |= {self._functions[tool] for tool in _tools_of(step)}
            useful |= {_REPORTED_BY[kind_of(step)]} if kind_of(step) in _REPORTED_BY else set()
        return frozenset(useful)

    def step_of_call(self, tool: str) -> str:
        """Return the id of the step that a call now belongs to."""
        ready = self.ready
        return str(next((step["id"] for step in ready if tool in _tools_of(step)), ready[0]["id"] if ready else ""))

    def completes(self, tool: str) -> str | None:
        """Return the id of the current step that an answered call of ``tool`` completes."""
        return next((step["id"] for step in self.ready if step.get("tool") == tool), None)

    def arguments(self, step: Mapping[str, Any]) -> dict[str, Any]:
        """Return the arguments of a step's tool."""
        from airflow_sop_provider.sop.expressions import ExpressionError, render

        try:
            rendered: dict[str, Any] = to_json(render(step.get("arguments") or {}, self.names), "arguments")
        except ExpressionError as error:
            raise bad_data("expression", f"`{step['id']}.arguments` cannot be evaluated: {error}") from error
        return rendered

    def computed(self, step: Mapping[str, Any]) -> dict[str, Any]:
        """Return the outputs of a step of kind `compute`."""
        return {name: to_json(self._evaluate(text, f"compute.{name}"), name) for name, text in step["compute"].items()}

    def ruled(self, step: Mapping[str, Any]) -> str | None:
        """Return what a decision's rule decides, None if it is the agent's to decide.

        :raises StepFailureError: exit 65 (``decision-not-an-option``) if it gives something else.
        """
        from airflow_sop_provider.sop.expressions import ASK

        decision = step["decision"]
        if decision.get("rule") is None:
            return None
        choice = self._evaluate(decision["rule"], "decision.rule")
        if choice is ASK:
            return None
        if not isinstance(choice, str) or choice not in decision["options"]:
            raise bad_data(
                "decision-not-an-option",
                f"The rule of `{step['id']}` gave {choice!r}; the options are {', '.join(decision['options'])}.",
            )
        return choice

    def check(self, name: str, outputs: Any) -> None:
        """Refuse outputs that break the step's schema or are too large.

        :raises StepFailureError: as `check_outputs` and `check_size`.
        """
        check_outputs(outputs, self._steps[name].get("outputs"))
        check_size(outputs)

    def status(self) -> dict[str, Any]:
        """Return what is done and what is to be done next, for the agent."""
        ready = self.ready
        return {"done": list(self.outputs), "next": self._described(ready[0]) if ready else None}

    def _described(self, step: Mapping[str, Any]) -> dict[str, Any]:
        from airflow_sop_provider.runner.agents.prompts import apart

        kind = kind_of(step)
        told: dict[str, Any] = {"step": step["id"], "kind": kind, "how": _HOW[kind]}
        if step.get("title"):
            told["title"] = step["title"]
        if kind == "tool":
            told |= {"function": self._functions[step["tool"]], **labelled({"arguments": self.arguments(step)})}
        if kind == "agent":
            text, values = apart(step["agent"]["instruction"], self.names, "agent.instruction")
            told |= {"instruction": text, **labelled(values)}
            told["functions"] = [self._functions[tool] for tool in step["agent"].get("tools") or ()]
            told["outputs"] = step.get("outputs")
        if kind == "decision":
            text, values = apart(step["decision"]["question"], self.names, "decision.question")
            told |= {"question": text, "options": step["decision"]["options"], **labelled(values)}
            told["decided_by_rule"] = self.ruled(step)
        if step.get("guidance"):
            text, values = apart(step["guidance"], self.names, "guidance")
            told |= {"guidance": text, "data": {**told.get("data", {}), **values}}
        return told

    def _what_is_next(self) -> str:
        ready = self.ready
        return f"Next is step `{ready[0]['id']}`." if ready else "Every step is done: report the result."

    def _evaluate(self, text: Any, where: str) -> Any:
        from airflow_sop_provider.sop.expressions import ExpressionError, evaluate

        if not isinstance(text, str):
            return text
        try:
            return evaluate(text, self.names)
        except ExpressionError as error:
            raise bad_data("expression", f"`{where}` cannot be evaluated: {error}", where=where) from error

    def _all_tools(self) -> list[str]:
        sources: Mapping[str, Any] = self.sop.get("data_sources") or {}
        return [f"{name}.{tool}" for name, source in sources.items() for tool in source["tools"]]


def kind_of(step: Mapping[str, Any]) -> str:
    """Return the kind of a step."""
    return next(kind for kind in (*KINDS, "approval", "command") if step.get(kind) is not None)


def _tools_of(step: Mapping[str, Any]) -> list[str]:
    named = [step["tool"]] if step.get("tool") else []
    return [*named, *((step.get("agent") or {}).get("tools") or ())]


_REPORTED_BY = {"compute": "report_step_result", "decision": "log_decision", "agent": "report_step_result"}

_HOW = {
    "tool": "call `function` with exactly the `arguments` under `data`; its answer completes the step.",
    "compute": "call report_step_result with the step's id alone; the engine computes it.",
    "decision": "call log_decision with your choice, the rationale, the evidence and your confidence.",
    "agent": "do what `instruction` says, then call report_step_result with the step's id and the outputs.",
    "approval": "people approve it; no agent can.",
    "command": "it runs in a container of its own; no agent can.",
}
