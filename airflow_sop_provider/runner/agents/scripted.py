"""A model that does what a file says: for tests, for authors without a key, and for `sop eval`.

``scripted:PATH`` names it, ``scripted:NAME`` one that ships. It is a real ADK model and reaches the world only through
its function calls, as any other; what it is not is intelligent. First it plays its `turns`, each once; then it follows
the SOP: it does what the newest ``next`` says, and takes answers and decisions from the file, whose texts may hold
``{{ expressions }}`` over ``steps.<function>`` (what that function last returned under `data`) and ``inputs`` (the data
of the first message).
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any, Literal

import yaml
from google.adk.models import BaseLlm, LlmCapabilities
from google.adk.models.llm_request import LlmRequest
from google.adk.models.llm_response import LlmResponse
from google.genai import types
from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, ValidationError

from airflow_sop_provider.runner.failures import bad_configuration
from airflow_sop_provider.sop.expressions import render

__all__ = ["Script", "ScriptedLlm", "Turn"]

PREFIX = "scripted:"
_INPUT_TOKENS, _OUTPUT_TOKENS = 100, 10


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Turn(_Model):
    """One answer: a function call, a text, a JSON value, or nothing at all.

    :param delay: seconds before it.
    """

    call: str | None = None
    arguments: dict[str, Any] = Field(default_factory=dict)
    text: str | None = None
    answer: Any = None
    delay: float = 0.0


class Script(_Model):
    """What a scripted model does.

    :param then: after the turns: ``follow`` the SOP, ``repeat`` the last turn for ever.
    :param answers: outputs of `agent` steps by id.
    :param decisions: `choice`, `rationale`, `evidence`, `confidence` of decisions by id.
    """

    turns: list[Turn] = Field(default_factory=list)
    then: Literal["follow", "repeat"] = "follow"
    answers: dict[str, Any] = Field(default_factory=dict)
    decisions: dict[str, dict[str, Any]] = Field(default_factory=dict)
    summary: str = "Every step is done."


class ScriptedLlm(BaseLlm):
    """The model."""

    _script: Script = PrivateAttr()
    _turn: int = PrivateAttr(default=0)

    def __init__(self, model: str) -> None:
        super().__init__(model=model)
        self._script = _read(_path(model.removeprefix(PREFIX)))

    @property
    def capabilities(self) -> LlmCapabilities:
        """It knows no schemas, so that ADK's own way of holding models to one is used."""
        return LlmCapabilities(output_schema_and_tools=False)

    async def generate_content_async(
        self, llm_request: LlmRequest, stream: bool = False
    ) -> AsyncGenerator[LlmResponse, None]:
        """Answer one turn."""
        turns = self._script.turns
        index, self._turn = self._turn, self._turn + 1
        if index < len(turns) or (self._script.then == "repeat" and turns):
            turn = turns[min(index, len(turns) - 1)]
        else:
            turn = self._following(_Seen(llm_request))
        await asyncio.sleep(turn.delay)
        yield _response(turn)

    def _following(self, seen: _Seen) -> Turn:
        status = seen.status
        if status.get("mode"):
            return self._structured(seen, status["step"], status["mode"])
        step = status.get("next")
        if step is None:
            return Turn(call="report_result", arguments={"summary": seen.filled(self._script.summary)})
        name, kind = step["step"], step["kind"]
        if kind == "tool":
            return Turn(call=step["function"], arguments=step["data"]["arguments"])
        if kind == "decision":
            return Turn(call="log_decision", arguments={"step": name, **self._decision(seen, name, step)})
        arguments = {"step": name}
        if kind == "agent":
            arguments["outputs"] = seen.filled(self._script.answers.get(name, "Done."))
        return Turn(call="report_step_result", arguments=arguments)

    def _structured(self, seen: _Seen, name: str, mode: str) -> Turn:
        if mode == "decision":
            return Turn(answer=self._decision(seen, name, seen.status))
        answer = seen.filled(self._script.answers.get(name, "Done."))
        if seen.structured_by_call:
            return Turn(call="set_model_response", arguments={"response": answer})
        return Turn(text=answer) if isinstance(answer, str) else Turn(answer=answer)

    def _decision(self, seen: _Seen, name: str, asked: dict[str, Any]) -> dict[str, Any]:
        ruled = asked.get("decided_by_rule")
        first = ruled or next(iter(asked["options"]))
        usual = {"choice": first, "rationale": "As the script says.", "evidence": ["the data"], "confidence": 1.0}
        filled: dict[str, Any] = seen.filled({**usual, **self._script.decisions.get(name, {})})
        return filled if ruled is None else {**filled, "choice": ruled}


class _Seen:
    """What the model can see: the last status, and what each function returned."""

    def __init__(self, request: LlmRequest) -> None:
        self.status: dict[str, Any] = {}
        self.results: dict[str, Any] = {}
        self.given: Any = {}
        self.structured_by_call = "set_model_response" in request.tools_dict
        for content in request.contents:
            for part in content.parts or ():
                self._read(part)

    def filled(self, value: Any) -> Any:
        """Return a value of the script with its expressions evaluated.

        ``steps`` holds results by function and by step, so that a script fits both modes.
        """
        return render(value, {"steps": self.results, "inputs": self.given})

    def _read(self, part: types.Part) -> None:
        if part.function_call is not None and part.function_call.args:
            said = part.function_call.args
            self.results[str(said.get("step"))] = said.get("outputs", said)
        if part.function_response is not None:
            response = part.function_response.response or {}
            self.results[str(part.function_response.name)] = response.get("data")
            before = self.status.get("next") or {}
            if before.get("step") in response.get("done", ()) and "data" in response:
                self.results[before["step"]] = response["data"]
            if "next" in response:
                self.status = response
        for tag in ("status", "data"):
            found = re.search(rf"<{tag}>\n(.*?)\n</{tag}>", part.text or "", re.DOTALL)
            if found and tag == "status":
                self.status = json.loads(found[1])
            elif found:
                self.given = json.loads(found[1])
                self.results |= self.given.get("steps") or {}


def _response(turn: Turn) -> LlmResponse:
    parts: list[types.Part] = []
    if turn.call is not None:
        parts.append(types.Part(function_call=types.FunctionCall(name=turn.call, args=turn.arguments)))
    elif turn.text is not None:
        parts.append(types.Part(text=turn.text))
    elif turn.answer is not None:
        parts.append(types.Part(text=json.dumps(turn.answer)))
    return LlmResponse(
        content=types.Content(role="model", parts=parts),
        usage_metadata=types.GenerateContentResponseUsageMetadata(
            prompt_token_count=_INPUT_TOKENS, candidates_token_count=_OUTPUT_TOKENS
        ),
    )


def _path(name: str) -> Path:
    return Path(name) if "/" in name else Path(__file__).with_name("scripts") / f"{name}.yaml"


def _read(path: Path) -> Script:
    try:
        return Script.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")) or {})
    except (OSError, UnicodeDecodeError, yaml.YAMLError, ValidationError) as error:
        raise bad_configuration("script-invalid", f"The model's script {path} cannot be used: {error}") from error
