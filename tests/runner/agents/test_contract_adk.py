"""Ways of ADK that the runner rests on: behaviours, not API, so a new release could change them without a word."""

from __future__ import annotations

import sys
from collections.abc import AsyncGenerator
from typing import Any

import pytest
from google.adk.agents import LlmAgent
from google.adk.apps import App
from google.adk.models import BaseLlm
from google.adk.models.llm_response import LlmResponse
from google.adk.plugins.base_plugin import BasePlugin
from google.adk.runners import Runner
from google.adk.sessions import InMemorySessionService
from google.genai import types
from pydantic import BaseModel, ValidationError

from tests.runner.conftest import make_assignment


class _Says(BaseLlm):
    parts: list[Any]

    async def generate_content_async(self, llm_request: Any, stream: bool = False) -> AsyncGenerator[LlmResponse, None]:
        part = self.parts.pop(0) if len(self.parts) > 1 else self.parts[0]
        yield LlmResponse(content=types.Content(role="model", parts=[part]))


class _Seen(BasePlugin):
    def __init__(self, answer: Any = None) -> None:
        super().__init__(f"seen{id(self)}")
        self.seen: list[str] = []
        self.answer = answer

    async def before_tool_callback(self, *, tool: Any, **_: Any) -> Any:
        self.seen.append(f"before {type(tool).__name__}")
        return self.answer

    async def after_tool_callback(self, **_: Any) -> None:
        self.seen.append("after")

    async def on_tool_error_callback(self, **_: Any) -> None:
        self.seen.append("error")

    async def after_run_callback(self, **_: Any) -> None:
        self.seen.append("after_run")


async def _run(*parts: types.Part, plugins: tuple[BasePlugin, ...] = (), **agent: Any) -> None:
    root = LlmAgent(name="a", model=_Says(model="m", parts=list(parts)), **agent)
    sessions = InMemorySessionService()
    runner = Runner(app=App(name="a", root_agent=root, plugins=list(plugins)), session_service=sessions)
    session = await sessions.create_session(app_name="a", user_id="u")
    message = types.Content(role="user", parts=[types.Part(text="go")])
    try:
        async for _ in runner.run_async(user_id="u", session_id=session.id, new_message=message):
            pass
    finally:
        await runner.close()


class _Number(BaseModel):
    n: int


TEXT = types.Part(text="no json")


async def test_an_answer_is_held_to_its_schema_only_with_an_output_key() -> None:
    await _run(TEXT, output_schema=_Number)
    with pytest.raises(ValidationError):
        await _run(TEXT, output_schema=_Number, output_key="x")


async def test_braces_of_an_instruction_are_variables_unless_it_is_a_callable() -> None:
    with pytest.raises(KeyError):
        await _run(TEXT, instruction="use {account_id}")
    await _run(TEXT, instruction=lambda _: "use {account_id}")


async def test_an_invented_function_is_a_plain_base_tool_before_and_an_error_after() -> None:
    plugin = _Seen()
    await _run(types.Part(function_call=types.FunctionCall(name="made_up", args={})), TEXT, plugins=(plugin,))
    assert plugin.seen == ["before BaseTool", "error", "after_run"]


async def test_the_first_plugin_that_answers_ends_the_round() -> None:
    first, second = _Seen({"error": "no"}), _Seen()
    call = types.Part(function_call=types.FunctionCall(name="made_up", args={}))
    await _run(call, TEXT, plugins=(first, second))
    assert "before BaseTool" in first.seen
    assert "before BaseTool" not in second.seen


def test_a_deterministic_step_does_not_load_adk(program: Any) -> None:
    work = make_assignment({"command": {"command": ["true"]}, "when": "true"})
    code = (
        "import sys, os; from airflow_sop_provider.runner.main import run; run();"
        "sys.exit(9 if 'google.adk' in sys.modules else 0)"
    )
    program.arguments = ("-c", code)
    assert sys.executable
    assert program.run(work).code == 0
