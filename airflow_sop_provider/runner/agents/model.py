"""From a model's name to the ADK model that answers: the site's file first, then our two, then all that ADK knows."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Collection
from typing import TYPE_CHECKING, Any

from google.adk.models import BaseLlm, LLMRegistry

from airflow_sop_provider.runner.agents.model_failures import MalformedCallError, ModelProtocolError
from airflow_sop_provider.runner.agents.scripted import PREFIX, ScriptedLlm
from airflow_sop_provider.runner.agents.site import ModelEntry
from airflow_sop_provider.runner.agents.structured import StructuredTurns
from airflow_sop_provider.runner.failures import bad_configuration
from airflow_sop_provider.runner.lines import Redactor

if TYPE_CHECKING:
    import httpx

__all__ = ["make_model"]

OPENAI = "openai:"
_KEY_VARIABLES = {"Gemini": "GOOGLE_API_KEY", "Claude": "ANTHROPIC_API_KEY"}
"""Where a provider's own library looks for its key."""


def make_model(
    name: str,
    entry: ModelEntry,
    redactor: Redactor,
    answer_schema: Any = None,
    allowed: Callable[[], Collection[str]] | None = None,
) -> BaseLlm:
    """Return the model of that name.

    :param entry: what the site says of it.
    :param answer_schema: of its final answer: a JSON Schema, or anything else that ADK checks itself.
    :param allowed: returns the functions that have a use now, for ``structured_turns``; None: all have.
    :raises StepFailureError: exit 78 if there is no such model, or what it needs is not installed or not set.
    """
    target = entry.use or name
    key = entry.key()
    if key is not None:
        redactor.add(key)
    if target.startswith(PREFIX):
        return ScriptedLlm(target)
    try:
        if target.startswith(OPENAI):
            asked = _openai(target.removeprefix(OPENAI), entry, key)
            schema = answer_schema if isinstance(answer_schema, dict) else None
            wrapped = StructuredTurns(model=asked.model, inner=asked, answer_schema=schema, allowed=allowed)
            return wrapped if entry.structured_turns else asked
        if entry.structured_turns:
            raise bad_configuration("models-file", f"`structured_turns` is for `openai:` models; `{target}` is none.")
        model = LLMRegistry.new_llm(target)
    except ImportError as error:
        raise bad_configuration("model-not-installed", f"`{target}` needs a package: {error}") from error
    except ValueError as error:
        raise bad_configuration("unknown-model", f"No provider has a model `{target}`: {error}") from error
    variable = _KEY_VARIABLES.get(type(model).__name__)
    if key is not None and variable is not None:
        os.environ[variable] = key
    return model


def _openai(name: str, entry: ModelEntry, key: str | None) -> BaseLlm:
    from google.adk.integrations.openai._openai_llm import OpenAILlm
    from openai import AsyncOpenAI, DefaultAsyncHttpxClient

    # whoever needs no key still has to send one; retries are the engine's, which counts them
    options: dict[str, Any] = {"api_key": key or os.environ.get("OPENAI_API_KEY") or "none", "max_retries": 0}
    http = DefaultAsyncHttpxClient(timeout=entry.timeout, event_hooks={"response": [_refuse_malformed]})
    client = AsyncOpenAI(base_url=entry.base_url, timeout=entry.timeout, http_client=http, **options)
    return OpenAILlm(model=name, client=client)


async def _refuse_malformed(response: httpx.Response) -> None:
    """Refuse what is no answer of the protocol, and a call whose arguments are no JSON object.

    ADK would crash on the one, and take the arguments of the other for none and make the call.
    """
    if response.is_error:
        return
    try:
        choices = json.loads(await response.aread())["choices"]
        calls = [call["function"] for choice in choices for call in choice["message"].get("tool_calls") or ()]
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        kind = response.headers.get("content-type", "no type")
        raise ModelProtocolError(f"it answered HTTP {response.status_code} with {kind}, which is no answer.") from error
    for call in calls:
        try:
            well_formed = isinstance(json.loads(call.get("arguments") or "{}"), dict)
        except ValueError:
            well_formed = False
        if not well_formed:
            raise MalformedCallError(f"the arguments of `{call.get('name')}` are no JSON object.")
