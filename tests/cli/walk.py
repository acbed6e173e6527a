"""Carries out an SOP's deterministic steps in this process, against the functions of the real MCP server.

What it is for: the shipped SOPs' expressions read real shapes of data, and a test can compare the report
with an independent computation, without Airflow. The runner and the executor have tests of their own.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import jsonschema

from airflow_sop_provider.fleet.servers.python_environment_tools import build_server
from airflow_sop_provider.sop import LoadedSop, Step, StepState
from airflow_sop_provider.sop.expressions import evaluate, render

EXECUTION = {"id": "x/manual__1", "run_id": "manual__1", "run_after": "2026-06-01T00:00:00+00:00", "attempt": 1}


class Walk:
    """One execution of an SOP on the distributions below `site_packages`."""

    def __init__(self, loaded: LoadedSop, site_packages: Path | None, **inputs: Any) -> None:
        self.loaded = loaded
        self.server = build_server(site_packages)
        schemas = loaded.sop.inputs
        self.inputs = {name: schema["default"] for name, schema in schemas.items() if "default" in schema} | inputs
        self.outputs: dict[str, Any] = {}
        self.states: dict[str, StepState] = {}

    def run(self) -> dict[str, Any]:
        """Return the outputs of the steps that ran."""
        for step_id in self.loaded.graph.order:
            fate = self.loaded.graph.fate(step_id, self.states)
            step = self.loaded.sop.step(step_id)
            names = {"inputs": self.inputs, "steps": self.outputs, "execution": EXECUTION}
            if fate != "run" or (step.when is not None and not evaluate(step.when, names)):
                self.states[step_id] = "skipped"
                continue
            if step.for_each is None:
                self.outputs[step_id] = self.act(step, names)
            else:
                items = evaluate(step.for_each, names)
                self.outputs[step_id] = [self.act(step, {**names, "item": item}) for item in items]
            self.states[step_id] = "succeeded"
        return self.outputs

    def act(self, step: Step, names: dict[str, Any]) -> Any:
        result = self.result(step, names)
        if step.outputs is not None:
            jsonschema.validate(result, step.outputs)
        return result

    def result(self, step: Step, names: dict[str, Any]) -> Any:
        if step.tool is not None:
            return self.call(step.tool.partition(".")[2], render(step.arguments, names))
        if step.compute is not None:
            return {name: evaluate(expression, names) for name, expression in step.compute.items()}
        assert step.decision is not None
        assert step.decision.rule is not None
        choice = evaluate(step.decision.rule, names)
        assert choice in step.decision.options
        return {"choice": choice}

    def call(self, tool: str, arguments: dict[str, Any]) -> Any:
        result = asyncio.run(self.server.call_tool(tool, arguments))
        return result.structured_content
