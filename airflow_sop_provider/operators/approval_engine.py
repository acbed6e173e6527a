"""The engine, as a worker asks it about approvals: another executor's task has no database of its own to judge with."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import httpx

from airflow_sop_provider.airflow_settings import engine_secret, read_settings
from airflow_sop_provider.contract.approval import Settled
from airflow_sop_provider.contract.attempt import AttemptKey
from airflow_sop_provider.engine.runner_tokens import key_of_secret, runner_token

if TYPE_CHECKING:
    from airflow.sdk import Context

__all__ = ["ApprovalEngine", "ApprovalEngineError"]

_SECONDS = 60.0
_TOKEN_SECONDS = 300.0
_TRIES = 3


class ApprovalEngineError(RuntimeError):
    """The engine did not answer a worker; the task fails and is tried again."""


class ApprovalEngine:
    """The engine, for the task of a context."""

    def __init__(self, context: Context) -> None:
        ti = context["ti"]
        self._key = AttemptKey(
            sop=ti.dag_id,
            run_id=ti.run_id,
            step=ti.task_id,
            map_index=-1 if ti.map_index is None else ti.map_index,
            attempt=ti.try_number,
            task_instance_id=str(ti.id),
        )

    def ask(self, question: Mapping[str, Any]) -> Settled:
        """Ask people what the step's runner has prepared."""
        return Settled.model_validate(self._post("ask", dict(question)))

    def settle(self) -> Settled:
        """Judge what people have answered."""
        return Settled.model_validate(self._post("settle"))

    def missing(self) -> str | None:
        """Return which approval before the task is missing, in words."""
        found: str | None = self._post("missing")["missing"]
        return found

    def _post(self, what: str, body: Mapping[str, Any] | None = None) -> Any:
        """Send a request; each of them may be sent again.

        :raises ApprovalEngineError: no answer, or a refusal.
        """
        now = datetime.now(UTC)
        token = runner_token(self._key, key_of_secret(engine_secret()), timeout_seconds=_TOKEN_SECONDS, now=now)
        url = f"{_engine_url()}/api/v1/worker/approval/{what}"
        transport = httpx.HTTPTransport(retries=_TRIES)
        try:
            with httpx.Client(transport=transport, timeout=_SECONDS) as client:
                answer = client.post(url, json=body, headers={"Authorization": f"Bearer {token}"})
        except httpx.TransportError as error:
            raise ApprovalEngineError(f"the engine at {url} does not answer: {error}") from error
        if not answer.is_success:
            raise ApprovalEngineError(f"the engine at {url} answered {answer.status_code}: {answer.text[:300]}")
        return answer.json()


def _engine_url() -> str:
    """Return where the engine is: beside the Execution API, unless `[sop] engine_url` says it."""
    from airflow.configuration import conf
    from airflow.executors.base_executor import get_execution_api_server_url

    return (
        read_settings().engine_url or get_execution_api_server_url(conf).rstrip("/").removesuffix("/execution") + "/sop"
    )
