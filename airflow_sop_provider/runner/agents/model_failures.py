"""Why a model did not answer, as an error type: by status, by kind of exception, by the code of an answer."""

from __future__ import annotations

from collections.abc import Iterator

from airflow_sop_provider.runner.failures import (
    StepFailureError,
    bad_configuration,
    bad_data,
    not_allowed,
    transient,
)

__all__ = ["MalformedCallError", "ModelProtocolError", "causes", "classify_model", "of_code"]


class MalformedCallError(ValueError):
    """A model called a function with arguments that are no JSON object."""


class ModelProtocolError(ValueError):
    """A server answered something that is no answer of a model's protocol: another service, a proxy's page."""


def causes(error: BaseException) -> Iterator[BaseException]:
    """Yield an error, what it was raised from, and what groups hold; each once.

    A failure that is found in here and raised again becomes a cause of its own cause: the chain may be a ring.
    """
    waiting: list[BaseException] = [error]
    seen: set[int] = set()
    while waiting:
        one = waiting.pop()
        if id(one) in seen:
            continue
        seen.add(id(one))
        yield one
        if one.__cause__ is not None:
            waiting.append(one.__cause__)
        if isinstance(one, BaseExceptionGroup):
            waiting.extend(reversed(one.exceptions))


def classify_model(error: BaseException, model: str) -> StepFailureError | None:
    """Return the step's failure for whatever asking a model raised, None if it is not the model's."""
    for cause in causes(error):
        if isinstance(cause, StepFailureError):
            return cause
        if isinstance(cause, ModelProtocolError):
            return bad_data("model-protocol", f"`{model}` is no model: {cause} Check `base_url` in models.yaml.")
    for cause in causes(error):
        found = _of_cause(cause, model)
        if found is not None:
            return found
    return None


def _of_cause(cause: BaseException, model: str) -> StepFailureError | None:
    status = getattr(cause, "status_code", None) or getattr(cause, "code", None)
    if isinstance(status, int) and 400 <= status < 600:
        return _of_status(status, model, str(cause))
    name = type(cause).__name__
    if isinstance(cause, TimeoutError) or "Timeout" in name:
        return transient("model-timeout", f"The model `{model}` did not answer in time.")
    if isinstance(cause, ConnectionError) or name in ("APIConnectionError", "ConnectError", "RemoteProtocolError"):
        return transient("model-unreachable", f"The model `{model}` cannot be reached: {cause}.")
    if isinstance(cause, ValueError) and "API key" in str(cause):  # a provider's client finds it out at its first call
        said = f"The model `{model}` needs a key and was given none. Name its variable as `api_key` in models.yaml."
        return bad_configuration("model-key-missing", said)
    return None


def _of_status(status: int, model: str, text: str) -> StepFailureError:
    code, said = f"model-http-{status}", f"The model `{model}` answered HTTP {status}: {text[:300]}"
    if status in (408, 429) or status >= 500:
        return transient(code, said, status=status)
    if status in (401, 403):
        return not_allowed(code, f"{said} Check its key in models.yaml.", status=status)
    if status == 404:
        return bad_configuration(code, f"{said} Check its name and `base_url`.", status=status)
    return bad_data(code, said, status=status)


def of_code(code: str, message: str | None, model: str) -> StepFailureError:
    """Return the failure for an answer that is an error."""
    name = code.rpartition(".")[2].lower().replace("_", "-")
    if name == "max-tokens":
        return bad_data("model-max-tokens", f"`{model}` ran out of tokens. Raise `agent.max_tokens`.")
    return bad_data(f"model-{name}", f"`{model}` gave no answer: {message or code}.")
