"""The webhook: signed so that its receiver can check it, and an error unless it was accepted."""

from __future__ import annotations

import hashlib
import hmac
import json
from types import SimpleNamespace

import pytest

from airflow_sop_provider.notifications.webhook import WebhookError, WebhookNotifier
from tests.notifications.receiver import SECRET, Receiver

MESSAGE = {"id": "failure:ti:1", "kind": "failure", "message": "post failed for good"}


def test_the_receiver_can_check_who_sent_it(receiver: Receiver) -> None:
    WebhookNotifier(conn_id="ops", path="/sop")({"escalation": MESSAGE})
    [(path, headers, body)] = receiver.got
    assert (path, json.loads(body)) == ("/sop", MESSAGE)
    signed = headers["X-SOP-Timestamp"].encode() + b"." + body
    expected = hmac.new(SECRET.encode(), signed, hashlib.sha256).hexdigest()
    assert headers["X-SOP-Signature"] == f"sha256={expected}"
    assert headers["Idempotency-Key"] == MESSAGE["id"]
    assert SECRET not in str(headers) + body.decode()


def test_an_answer_that_is_no_success_is_an_error(receiver: Receiver) -> None:
    receiver.status = 503
    with pytest.raises(WebhookError, match="ops answered 503"):
        WebhookNotifier(conn_id="ops")({"escalation": MESSAGE})


@pytest.mark.parametrize(
    ("uri", "problem"),
    [
        ("http://:s@127.0.0.1:9/http", "ConnectError"),
        ("http://127.0.0.1:9/http", "has no password"),
        ('{"conn_type": "http", "password": "s"}', "has no host"),
    ],
)
def test_what_cannot_be_sent_says_why(monkeypatch, uri, problem) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_OPS", uri)
    with pytest.raises(WebhookError, match=problem):
        WebhookNotifier(conn_id="ops")({"escalation": MESSAGE})


def test_the_host_may_be_an_address(receiver: Receiver, monkeypatch) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_OPS", json.dumps({"conn_type": "http", "host": receiver.url, "password": SECRET}))
    WebhookNotifier(conn_id="ops")({"escalation": MESSAGE})
    assert len(receiver.got) == 1


def test_it_serves_airflows_own_callback(receiver: Receiver) -> None:
    run, ti = SimpleNamespace(dag_id="close-books", run_id="r"), SimpleNamespace(task_id="post")
    WebhookNotifier(conn_id="ops")({"dag_run": run, "ti": ti, "reason": "task_failure"})
    said = json.loads(receiver.got[0][2])
    assert (said["sop"], said["run_id"], said["step"], said["message"]) == ("close-books", "r", "post", "task_failure")
