"""Tells a web server of yours, which can check that we said so: HMAC-SHA256 over time and body.

Address and secret are an Airflow connection's, so neither an SOP nor the outbox ever holds the secret.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import httpx
from airflow.sdk.bases.hook import BaseHook
from airflow.sdk.bases.notifier import BaseNotifier

if TYPE_CHECKING:
    from airflow.sdk import Connection

__all__ = ["WebhookError", "WebhookNotifier", "signature"]

_SECONDS = 10.0


class WebhookError(Exception):
    """The message was not accepted, or the connection does not say where it goes."""


def signature(secret: str, timestamp: str, body: bytes) -> str:
    """Return what a receiver computes as well: HMAC-SHA256 (hex) over the time, a dot and the body.

    :param timestamp: seconds since 1970, as in the header; a receiver refuses old ones.
    """
    return hmac.new(secret.encode(), timestamp.encode() + b"." + body, hashlib.sha256).hexdigest()


class WebhookNotifier(BaseNotifier):
    """Posts an escalation as JSON.

    :param conn_id: connection with the address (a URL as host, or schema, host and port) and, as password, the secret.
    :param path: appended to the address.
    """

    template_fields: Sequence[str] = ("path",)

    def __init__(self, *, conn_id: str, path: str = "") -> None:
        super().__init__()
        self.conn_id = conn_id
        self.path = path

    def notify(self, context: Mapping[str, Any]) -> None:
        """Send what happened.

        :param context: ``escalation``: the message; without it (in Airflow's own callbacks) DAG, run and task are told.
        :raises WebhookError: nobody is there, or the answer is not 2xx.
        """
        connection = BaseHook.get_connection(self.conn_id)
        secret = connection.password
        if not secret:
            raise WebhookError(f"Connection {self.conn_id} has no password; the secret for the signature goes there.")
        message = context.get("escalation") or _of_callback(context)
        body = json.dumps(message, default=str).encode()
        now = str(int(time.time()))
        headers = {
            "Content-Type": "application/json",
            "X-SOP-Timestamp": now,
            "X-SOP-Signature": f"sha256={signature(secret, now, body)}",
        }
        if message.get("id"):
            headers["Idempotency-Key"] = str(message["id"]).encode("ascii", "replace").decode()
        try:
            answer = httpx.post(_address(connection) + self.path, content=body, headers=headers, timeout=_SECONDS)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise WebhookError(f"The webhook of connection {self.conn_id}: {type(error).__name__}: {error}") from None
        if not answer.is_success:
            raise WebhookError(f"The webhook of connection {self.conn_id} answered {answer.status_code}.")


def _address(connection: Connection) -> str:
    host = connection.host or ""
    if not host:
        raise WebhookError(f"Connection {connection.conn_id} has no host; the address of the webhook goes there.")
    if "://" in host:
        return host.rstrip("/")
    port = f":{connection.port}" if connection.port else ""
    return f"{connection.schema or 'https'}://{host}{port}"


def _of_callback(context: Mapping[str, Any]) -> dict[str, Any]:
    run, ti = context.get("dag_run"), context.get("ti")
    dag = context.get("dag")  # of a DAG whose last task is not known Airflow gives this and the run's id alone
    return {
        "kind": "airflow",
        "sop": getattr(run, "dag_id", None) or getattr(dag, "dag_id", None),
        "run_id": getattr(run, "run_id", None) or context.get("run_id"),
        "step": getattr(ti, "task_id", None),
        "message": str(context.get("reason") or context.get("exception") or "failed"),
    }
