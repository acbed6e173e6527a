"""Turns held to a JSON schema: for models that cannot call functions, or do so badly.

A small model that is offered functions answers in prose about them; the same model whose every answer must fit a
schema (one of the calls, or the final answer) makes the right call. So this wraps a model: functions become
alternatives of the answer's schema and text of the instruction, calls and their results become messages, and what comes
back is a call again. ADK, the guard and the audit see no difference.
"""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Callable, Collection, Iterable
from typing import Any

from google.adk.models import BaseLlm
from google.adk.models.llm_request import LlmRequest
from google.adk.models.llm_response import LlmResponse
from google.genai import types

from airflow_sop_provider.runner.agents.model_failures import MalformedCallError
from airflow_sop_provider.runner.agents.strict_schemas import as_strict, without_nulls
from airflow_sop_provider.runner.agents.untrusted import encoded

__all__ = ["StructuredTurns"]

_ANSWER = "set_model_response"
_STATUS = "report_status"
_ENDING = {_ANSWER, "report_result"}
"""Functions that end an agent's work: where one is offered, plain text is no answer."""

_RULES = """\
# How you answer
Each of your turns is one JSON object and nothing else. To call a function:
{"turn": {"call": "NAME", "arguments": {...}}}
Its answer comes in the next message. An argument that is optional is null where you leave it out."""
_FINAL = 'When nothing is left to call, end with {"turn": {"answer": "TEXT"}}.'


class StructuredTurns(BaseLlm):
    """Asks another model with every turn held to a schema.

    :param inner: the model; one that keeps to the ``response_schema`` of a request.
    :param allowed: returns the functions that have a use now, None: all have.
    :param answer_schema: of the final answer where that is a JSON Schema: ADK's function for it takes any object.
    """

    inner: BaseLlm
    answer_schema: dict[str, Any] | None = None
    allowed: Callable[[], Collection[str]] | None = None

    async def generate_content_async(
        self, llm_request: LlmRequest, stream: bool = False
    ) -> AsyncGenerator[LlmResponse, None]:
        """Yield the model's answer; a turn that calls is one with a function call.

        :raises MalformedCallError: the answer is no turn, although the model was held to the schema.
        """
        functions = _functions(llm_request, self.answer_schema)
        request = _rewritten(llm_request, functions, self._useful(llm_request, functions)) if functions else llm_request
        async for response in self.inner.generate_content_async(request, stream=False):
            yield _turned(response, functions) if functions else response

    def _useful(self, request: LlmRequest, functions: _Functions) -> _Functions:
        """Return the functions that this turn may call: a small model would say how it goes for ever."""
        last = request.contents[-1].parts if request.contents else None
        said = {part.function_response.name for part in last or () if part.function_response is not None}
        allowed = set(functions) if self.allowed is None else set(self.allowed())
        return {name: one for name, one in functions.items() if name in allowed - (said & {_STATUS})} or functions


_Functions = dict[str, tuple[str, dict[str, Any]]]
"""Function's name -> description and schema of its arguments."""


def _functions(request: LlmRequest, answer_schema: dict[str, Any] | None) -> _Functions:
    declared = (tool.function_declarations or () for tool in request.config.tools or () if isinstance(tool, types.Tool))
    found = {str(one.name): (one.description or "", _parameters(one)) for ones in declared for one in ones}
    if _ANSWER in found and answer_schema is not None:
        found[_ANSWER] = (found[_ANSWER][0], _object(response=answer_schema))
    return found


def _rewritten(request: LlmRequest, functions: _Functions, useful: _Functions) -> LlmRequest:
    told = [str(request.config.system_instruction or ""), _RULES]
    told += [] if _ENDING & set(functions) else [_FINAL]
    told += ["# Functions", *(_described(name, *function) for name, function in functions.items())]
    update = {
        "system_instruction": "\n\n".join(told),
        "tools": None,
        "response_schema": _schema(useful, may_end=not _ENDING & set(functions)),
    }
    contents = [_as_text(content) for content in request.contents]
    return request.model_copy(update={"config": request.config.model_copy(update=update), "contents": contents})


def _described(name: str, description: str, parameters: dict[str, Any]) -> str:
    return f"{name}: {description}\nIts arguments fit: {json.dumps(parameters, ensure_ascii=False)}"


def _parameters(function: types.FunctionDeclaration) -> dict[str, Any]:
    if function.parameters_json_schema is not None:
        return dict(function.parameters_json_schema)
    given = function.parameters
    if given is None:
        return {"type": "object", "properties": {}}
    return given.json_schema.model_dump(mode="json", by_alias=True, exclude_none=True)


def _schema(functions: _Functions, *, may_end: bool) -> dict[str, Any]:
    """Return the schema of a turn: an object at its root, as some servers refuse a choice there."""
    turns = [_object(call={"const": name}, arguments=as_strict(one)) for name, (_, one) in functions.items()]
    if may_end:
        turns.append(_object(answer={"type": "string"}))
    return {"title": "turn", **_object(turn={"anyOf": turns})}


def _object(**properties: Any) -> dict[str, Any]:
    return {
        "type": "object", "properties": properties, "required": list(properties), "additionalProperties": False,
    }  # fmt: skip


def _as_text(content: types.Content) -> types.Content:
    return types.Content(role=content.role, parts=list(_text_parts(content.parts or ())))


def _text_parts(parts: Iterable[types.Part]) -> Iterable[types.Part]:
    for part in parts:
        call, answer = part.function_call, part.function_response
        if call is not None:
            yield types.Part(text=json.dumps({"turn": {"call": call.name, "arguments": call.args or {}}}))
        elif answer is not None:
            yield types.Part(text=f"{answer.name} answered:\n{encoded(answer.response)}")
        else:
            yield part


def _turned(response: LlmResponse, functions: _Functions) -> LlmResponse:
    if response.error_code or response.content is None:
        return response
    text = "".join(part.text or "" for part in response.content.parts or () if not part.thought)
    if not text.strip():
        return response
    try:
        turn = json.loads(text)["turn"]
        part = types.Part(text=turn["answer"]) if "answer" in turn else _call(turn, functions)
    except (ValueError, LookupError, TypeError) as error:
        if response.finish_reason == types.FinishReason.MAX_TOKENS:
            return response.model_copy(update={"error_code": types.FinishReason.MAX_TOKENS.value, "content": None})
        raise MalformedCallError(f"it is no turn of the form asked for ({error}).") from error
    return response.model_copy(update={"content": types.Content(role="model", parts=[part])})


def _call(turn: dict[str, Any], functions: _Functions) -> types.Part:
    name, arguments = turn["call"], turn.get("arguments") or {}
    known = functions.get(name)  # a server that ignores the schema may let a model invent one: the guard refuses it
    args = arguments if known is None else without_nulls(arguments, known[1])
    return types.Part(function_call=types.FunctionCall(name=name, args=args))
