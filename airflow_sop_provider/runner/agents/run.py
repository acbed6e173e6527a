"""One agent from its start to its answer: connect, build, run, ask again where the answer does not fit, and stop.

The only module that a step's code imports of those that import ADK.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from google.adk.apps import App
from google.adk.plugins.base_plugin import BasePlugin
from google.adk.runners import Runner
from google.adk.sessions import InMemorySessionService
from google.adk.tools.base_tool import BaseTool
from google.genai import types
from pydantic import ValidationError

from airflow_sop_provider.contract.conformance import check_conformance, explain
from airflow_sop_provider.runner.agents.audit import AuditPlugin
from airflow_sop_provider.runner.agents.budget import Meter, spent_up
from airflow_sop_provider.runner.agents.build import build_agent, decision_schema
from airflow_sop_provider.runner.agents.checkpoint import open_store
from airflow_sop_provider.runner.agents.config import agent_config
from airflow_sop_provider.runner.agents.guard import GuardPlugin
from airflow_sop_provider.runner.agents.journal import Journal, interrupted
from airflow_sop_provider.runner.agents.model import make_model
from airflow_sop_provider.runner.agents.model_failures import MalformedCallError, causes, classify_model
from airflow_sop_provider.runner.agents.names import function_names
from airflow_sop_provider.runner.agents.own_tools import own_tools
from airflow_sop_provider.runner.agents.procedure import Procedure
from airflow_sop_provider.runner.agents.prompts import ask_again, opening, sop_instruction, step_instruction
from airflow_sop_provider.runner.agents.site import ModelEntry, load_site
from airflow_sop_provider.runner.agents.sources import SourceTool, open_sources
from airflow_sop_provider.runner.agents.stopping import Stop
from airflow_sop_provider.runner.agents.work import Work
from airflow_sop_provider.runner.failures import StepFailureError, bad_data
from airflow_sop_provider.runner.outputs import violation
from airflow_sop_provider.runner.step_context import StepContext
from airflow_sop_provider.runner.values import to_json

__all__ = ["MAX_REPAIRS", "run"]

MAX_REPAIRS = 2
"""Times that a model is asked again because its answer did not fit."""

_USER = _APP = "sop"
_BAD_ANSWER = (ValidationError, json.JSONDecodeError)
_PACKAGES = ("google-adk", "google-genai", "litellm", "mcp", "openai")


async def run(context: StepContext) -> Any:
    """Carry out what an agent is needed for; return its outputs.

    :raises StepFailureError: every way it can fail, classified.
    """
    payload = context.assignment.payload
    site = load_site()
    config = agent_config(payload, site.default)
    entry = site.entry(config.model)
    step = os.environ.get("SOP_STEP")
    journal = await Journal.open(open_store(Path(step) if step else None), str(context.assignment.execution.get("id")))
    work = Work(
        context=context,
        config=config,
        meter=Meter(config.budget, journal.progress.spent, entry.prices, lambda: journal.elsewhere),
        journal=journal,
        functions={name: tool for tool, name in function_names(config.tools).items()},
        answer_seconds=entry.timeout,
        procedure=_procedure(context, journal) if config.agent_type == "agent_centric" else None,
    )
    context.agent_usage = work.meter.usage
    if work.journal.resumed:
        done = list(work.journal.progress.outputs)
        context.action("agent.resume", f"Going on after {', '.join(done) or 'no step'}", done=done)
    with Stop() as stop:
        try:
            if work.meter.limited:
                await journal.save()  # tells what other steps of the execution have spent
            return await _Agent(work, entry, stop).answer()
        except Exception as error:  # connections that were open wrap it in groups
            known = (cause for cause in causes(error) if isinstance(cause, StepFailureError))
            failure = next(known, None)
            if failure is None:
                raise
            raise failure from None
        finally:
            work.meter.usage()
            with contextlib.suppress(StepFailureError):  # what ended the agent says more
                await journal.save()


def _procedure(context: StepContext, journal: Journal) -> Procedure:
    names = {"inputs": context.assignment.inputs, "execution": context.assignment.execution}
    return Procedure(context.step, names, journal.progress.outputs)


async def _settle(work: Work, sources: Sequence[SourceTool]) -> None:
    """Decide about calls that were under way when an earlier attempt ended.

    The gateway remembers calls: asked again for the same one, it gives the answer that was lost, or makes the call if
    it never did. Without it nobody knows.
    """
    for call in work.journal.unanswered:
        source = next((source for source in sources if source.source_tool == call.tool), None)
        if not call.effect:
            await work.journal.forget(call)
        elif source is None or not source.remembered:
            raise interrupted(call)
        else:
            await work.journal.end(call, await source.ask(call.arguments, call.ordinal))


class _Agent:
    def __init__(self, work: Work, entry: ModelEntry, stop: Stop) -> None:
        self._work = work
        self._entry = entry
        self._stop = stop
        self._audit = AuditPlugin(work)
        self._done_before = tuple(work.journal.progress.outputs)

    async def answer(self) -> Any:
        work, config = self._work, self._work.config
        about = {"model": config.model, "agent_type": config.agent_type, "packages": _packages()}
        work.context.action("agent", f"Agent on {config.model}", **about)
        instruction, message, schema = self._told()
        procedure, reading = work.procedure, set[str]()
        allowed = None if procedure is None else lambda: procedure.functions_now(reading)
        model = make_model(config.model, self._entry, work.context.redactor, schema, allowed)
        async with contextlib.AsyncExitStack() as stack:
            sources = await open_sources(work, stack)
            await _settle(work, sources)
            reading |= {source.name for source in sources if not source.effect}
            tools: list[BaseTool] = [*sources]
            tools += own_tools(work) if work.procedure is not None else []
            agent = build_agent(config, model, instruction, tools, schema)
            guard = GuardPlugin(work, frozenset(tool.name for tool in tools))
            plugins: list[BasePlugin] = [self._audit, guard]
            sessions = InMemorySessionService()
            runner = Runner(app=App(name=_APP, root_agent=agent, plugins=plugins), session_service=sessions)
            stack.push_async_callback(runner.close)
            session = await sessions.create_session(app_name=_APP, user_id=_USER)
            return await self._until_it_fits(runner, session.id, message)

    def _told(self) -> tuple[str, str, Any]:
        """Return instruction, first message and schema of the answer."""
        work, context = self._work, self._work.context
        if work.procedure is not None:
            data = {"inputs": context.assignment.inputs}
            return sop_instruction(context.step, work.config), opening(work.procedure.status(), data), None
        step = context.step
        decision = step.get("decision")
        instruction, values = step_instruction(step, context.names, context.assignment.payload.guidance)
        status: dict[str, Any] = {"mode": work.config.agent_type, "step": step["id"]}
        if decision is not None:
            status["options"] = decision["options"]
        data = {**values, "steps": context.assignment.steps, "inputs": context.assignment.inputs}
        schema = decision_schema(decision["options"]) if decision is not None else step.get("outputs")
        return instruction, opening(status, data), schema

    async def _until_it_fits(self, runner: Runner, session: str, message: str) -> Any:
        problem = ""
        for again in range(MAX_REPAIRS + 1):
            if again:
                self._work.meter.repair()
                message = ask_again(problem)
            text, problem = await self._ask(runner, session, message)
            if not problem:
                fits, found = self._outputs(text)
                if not found:
                    return fits
                problem = found
        code = "model-empty-answer" if problem == _EMPTY else "agent-answer-invalid"
        code = "model-malformed-call" if problem.startswith(_MALFORMED) else code
        raise bad_data(code, f"The agent's answer did not fit after {MAX_REPAIRS} repairs: {problem}")

    async def _ask(self, runner: Runner, session: str, message: str) -> tuple[str, str]:
        """Return the text that the agent ended with, and what was wrong with its form."""
        text = ""
        try:
            async with asyncio.timeout(None) as self._work.clock:
                async for event in runner.run_async(
                    user_id=_USER,
                    session_id=session,
                    new_message=types.Content(role="user", parts=[types.Part(text=message)]),
                    abort_signal=self._stop.signal,
                ):
                    if event.is_final_response() and event.content is not None:
                        text = "".join(part.text or "" for part in event.content.parts or () if not part.thought)
        except Exception as error:
            return "", self._form_problem(error)
        finally:
            self._work.clock = None
        self._stop.raise_if_asked()
        return text, ""

    def _form_problem(self, error: Exception) -> str:
        self._stop.raise_if_asked()
        left = self._work.meter.seconds_left
        if left is not None and left <= 0:
            raise spent_up("seconds", self._work.meter.spent.seconds) from error
        malformed = next((cause for cause in causes(error) if isinstance(cause, MalformedCallError)), None)
        if malformed is not None:
            return _MALFORMED + str(malformed)
        failure = classify_model(error, self._work.config.model)
        if failure is not None:
            raise failure from error
        bad = next((cause for cause in causes(error) if isinstance(cause, _BAD_ANSWER)), None)
        if bad is None:
            raise error
        return f"it breaks the schema: {str(bad)[:500]}."

    def _outputs(self, text: str) -> tuple[Any, str]:
        """Return the outputs that an answer holds, and what is wrong with it."""
        work, step = self._work, self._work.context.step
        if work.procedure is not None:
            if work.result is not None:
                self._check_conformance()
                return {"steps": dict(work.journal.progress.outputs), **work.result}, ""
            return None, f"you ended without report_result. {json.dumps(work.procedure.status())}"
        if not text.strip():
            return None, _EMPTY
        if step.get("decision") is not None:
            return self._decided(json.loads(_bare(text))), ""
        schema = step.get("outputs")
        if schema is None:
            return {"text": text}, ""
        try:
            value = to_json(json.loads(_bare(text)), "answer")
        except json.JSONDecodeError as error:
            return None, f"it is no JSON: {error}."
        found = violation(value, schema, code="outputs-schema-invalid", what="The step's `outputs`")
        return value, "" if found is None else f"at `{found[0]}`: {found[1]}"

    def _check_conformance(self) -> None:
        """Compare what was recorded with the SOP; a deviation fails the attempt unless the SOP says `escalate`."""
        sop = self._work.context.step
        deviations = check_conformance(sop, self._audit.trace, alone=True, done=self._done_before)
        explanation = explain(sop, deviations)
        self._audit.conformed(deviations, explanation)
        if deviations and self._work.config.on_deviation == "fail":
            raise bad_data("agent-deviation", f"The agent departed from the SOP: {'; '.join(explanation)[:1500]}")

    def _decided(self, answer: dict[str, Any]) -> dict[str, Any]:
        options = list(self._work.context.step["decision"]["options"])
        outputs = {**answer, "by": "agent", "options": options}
        self._audit.decided(outputs)
        return outputs


_EMPTY = "it is empty."
_MALFORMED = "a call in it is malformed: "


def _bare(text: str) -> str:
    """Return JSON without the fence that models like to put around it."""
    stripped = text.strip()
    if stripped.startswith("```") and stripped.endswith("```"):
        return stripped[3:-3].removeprefix("json").strip()
    return stripped


def _packages() -> dict[str, str]:
    """Return the versions of what talks to the model and the tools, as far as it is installed."""
    found: dict[str, str] = {}
    for name in _PACKAGES:
        with contextlib.suppress(PackageNotFoundError):
            found[name] = version(name)
    return found
