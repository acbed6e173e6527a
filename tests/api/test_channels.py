"""The notifiers that a site has: mail to a real mail server, Slack, Opsgenie and PagerDuty to one of ours; kill -9."""

from __future__ import annotations

import json
import os
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import timedelta
from email import message_from_bytes, policy
from email.message import EmailMessage
from threading import Event

import pytest
import trustme
from aiosmtpd.controller import Controller
from airflow.utils.session import create_session
from pagerduty import EventsApiV2Client
from sqlalchemy import select

from airflow_sop_provider.airflow_settings import EscalationSettings
from airflow_sop_provider.api.escalating import Dispatcher
from airflow_sop_provider.store.base import utc_now
from airflow_sop_provider.store.executions import find_execution
from airflow_sop_provider.store.outbox import put
from airflow_sop_provider.store.tables import DeliveryRow
from tests.notifications.receiver import SECRET, Receiver, receiver

__all__ = ["receiver"]

SLACK = "airflow.providers.slack.notifications.slack.SlackNotifier"
MESSAGE = {"message": "step post failed for good", "sop": "close-books", "run_id": "r1", "execution": "close-books/r1"}


class Mailbox:
    """Keeps the mails that it is handed; refuses them as often as it is told to."""

    def __init__(self) -> None:
        self.mails: list[EmailMessage] = []
        self.refuse = 0

    async def handle_DATA(self, server, session, envelope) -> str:
        if self.refuse:
            self.refuse -= 1
            return "451 come again"
        mail = message_from_bytes(envelope.content, policy=policy.default)
        assert isinstance(mail, EmailMessage)
        self.mails.append(mail)
        return "250 kept"


@pytest.fixture
def mailbox(monkeypatch: pytest.MonkeyPatch) -> Iterator[Mailbox]:
    """A mail server on this machine, and Airflow's connection that names it."""
    kept = Mailbox()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    controller = Controller(kept, hostname="127.0.0.1", port=port)  # which cannot choose one itself
    controller.start()
    extra = {"disable_ssl": True, "disable_tls": True, "from_email": "sop@example.com", "retry_limit": 1}
    connection = {"conn_type": "smtp", "host": "127.0.0.1", "port": port, "extra": extra}
    monkeypatch.setenv("AIRFLOW_CONN_SMTP_DEFAULT", json.dumps(connection))
    yield kept
    controller.stop()


def smtp(**kwargs: str) -> dict[str, object]:
    return {
        "notifier": "airflow.providers.smtp.notifications.smtp.SmtpNotifier",
        "kwargs": {"to": "qa-ops@example.com", **kwargs},
    }


@pytest.fixture
def fact(admin, chain) -> str:
    """The id of a fact that is stored and not told yet."""
    made = admin.post(f"/api/v1/sops/{chain}/executions", json={}).json()
    with create_session() as session:
        row = find_execution(session, chain, made["run_id"])
        put(session, "failure", f"f:{row.id}", MESSAGE, execution_id=row.id)
        return f"f:{row.id}"


def turn(*channels: dict[str, object], after: float = 0) -> int:
    settings = EscalationSettings(channels=channels, tries=3)
    return Dispatcher(create_session, settings, lambda: utc_now() + timedelta(seconds=after)).turn()


def errors() -> list[str | None]:
    with create_session() as session:
        return list(session.scalars(select(DeliveryRow.last_error)))


def test_a_mail_says_what_happened(fact, mailbox: Mailbox) -> None:
    channel = smtp(subject="{{ kind }} of {{ sop }}", html_content="<b>{{ message }}</b> in {{ execution }}")
    assert turn(channel) == 1, errors()
    [mail] = mailbox.mails
    assert (mail["Subject"], mail["To"], mail["From"]) == (
        "failure of close-books",
        "qa-ops@example.com",
        "sop@example.com",
    )
    assert "<b>step post failed for good</b> in close-books/r1" in mail.get_body(("html",)).get_content()


def test_a_mail_that_only_has_an_address_says_it_as_well(fact, mailbox: Mailbox) -> None:
    """The form that the SOP language's documentation shows."""
    assert turn(smtp()) == 1, errors()
    [mail] = mailbox.mails
    assert mail["Subject"] == "close-books: failure"
    said = mail.get_body(("html",)).get_content()
    assert "step post failed for good" in said
    assert "close-books/r1" in said


def test_what_others_wrote_is_text_in_a_mail(admin, chain, mailbox: Mailbox) -> None:
    made = admin.post(f"/api/v1/sops/{chain}/executions", json={}).json()
    with create_session() as session:
        row = find_execution(session, chain, made["run_id"])
        put(session, "failure", "f:html", MESSAGE | {"message": "<img src=x>"}, execution_id=row.id)
    assert turn(smtp()) == 1, errors()
    assert "&lt;img src=x&gt;" in mailbox.mails[0].get_body(("html",)).get_content()


def test_slack_that_is_given_no_text_says_what_happened(fact, receiver: Receiver, monkeypatch) -> None:
    receiver.answer = b'{"ok": true}'
    monkeypatch.setenv("AIRFLOW_CONN_SLACK", json.dumps({"conn_type": "slack", "password": "xoxb-token"}))
    kwargs = {"slack_conn_id": "slack", "base_url": f"{receiver.url}/api/"}
    assert turn({"notifier": SLACK, "kwargs": kwargs}) == 1, errors()
    assert json.loads(receiver.got[0][2])["text"] == "close-books: failure. step post failed for good (close-books/r1)"


def test_a_mail_server_that_refuses_is_asked_again_later(fact, mailbox: Mailbox) -> None:
    mailbox.refuse = 99
    channel = smtp(subject="s", html_content="h")
    assert turn(channel) == 0
    assert "451" in str(errors())
    mailbox.refuse = 0
    assert turn(channel, after=0.5) == 0, "a second has to pass first"
    assert turn(channel, after=2) == 1
    assert len(mailbox.mails) == 1


def test_slack_is_told(fact, receiver: Receiver, monkeypatch) -> None:
    receiver.answer = b'{"ok": true}'
    monkeypatch.setenv("AIRFLOW_CONN_SLACK", json.dumps({"conn_type": "slack", "password": "xoxb-token"}))
    kwargs = {"slack_conn_id": "slack", "channel": "#qa", "text": "{{ message }}", "base_url": f"{receiver.url}/api/"}
    assert turn({"notifier": "airflow.providers.slack.notifications.slack.SlackNotifier", "kwargs": kwargs}) == 1, (
        errors()
    )
    [(path, headers, body)] = receiver.got
    assert (path, headers["Authorization"]) == ("/api/chat.postMessage", "Bearer xoxb-token")
    assert (json.loads(body)["text"], json.loads(body)["channel"]) == (MESSAGE["message"], "#qa")


def test_slack_that_says_no_is_a_failure(fact, receiver: Receiver, monkeypatch) -> None:
    receiver.answer = b'{"ok": false, "error": "channel_not_found"}'
    monkeypatch.setenv("AIRFLOW_CONN_SLACK", json.dumps({"conn_type": "slack", "password": "xoxb-token"}))
    kwargs = {"slack_conn_id": "slack", "base_url": f"{receiver.url}/api/"}
    assert turn({"notifier": SLACK, "kwargs": kwargs}) == 0
    assert "channel_not_found" in str(errors())
    assert "xoxb" not in str(errors())


def test_opsgenie_is_told(fact, receiver: Receiver, monkeypatch) -> None:
    receiver.status, receiver.answer = 202, b'{"result": "Request will be processed", "requestId": "1", "took": 0.1}'
    connection = {"conn_type": "opsgenie", "host": receiver.url, "password": "genie-key"}
    monkeypatch.setenv("AIRFLOW_CONN_OPSGENIE_DEFAULT", json.dumps(connection))
    payload = {"message": "{{ message }}", "alias": "{{ id }}", "priority": "P1"}
    notifier = "airflow.providers.opsgenie.notifications.opsgenie.OpsgenieNotifier"
    assert turn({"notifier": notifier, "kwargs": {"payload": payload}}) == 1, errors()
    [(path, headers, body)] = receiver.got
    assert (path, headers["Authorization"]) == ("/v2/alerts", "GenieKey genie-key")
    assert (json.loads(body)["message"], json.loads(body)["alias"]) == (MESSAGE["message"], fact)


def test_pagerduty_is_told(fact, receiver: Receiver, monkeypatch, tmp_path) -> None:
    """The one with an address that cannot be configured, and HTTPS only: its client's default is exchanged."""
    authority, context = trustme.CA(), ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    receiver.speak_tls(context)
    receiver.status, receiver.answer = 202, b'{"status": "success", "message": "ok", "dedup_key": "k"}'
    monkeypatch.setattr(EventsApiV2Client, "default_base_url", receiver.url)
    connection = {"conn_type": "pagerduty_events", "password": "routing-key"}
    monkeypatch.setenv("AIRFLOW_CONN_PAGERDUTY_EVENTS_DEFAULT", json.dumps(connection))
    kwargs = {"summary": "{{ message }}", "severity": "critical", "source": "{{ sop }}", "dedup_key": "{{ id }}"}
    notifier = "airflow.providers.pagerduty.notifications.pagerduty.PagerdutyNotifier"
    assert turn({"notifier": notifier, "kwargs": kwargs}) == 1, errors()
    [(path, _, body)] = receiver.got
    told = json.loads(body)
    assert (path, told["routing_key"], told["event_action"]) == ("/v2/enqueue", "routing-key", "trigger")
    assert (told["payload"]["summary"], told["dedup_key"]) == (MESSAGE["message"], fact)
    assert "routing-key" not in str(errors())


DISPATCH = """\
from airflow.utils.session import create_session
from airflow_sop_provider.api.escalating import dispatch
dispatch(create_session)
"""


def test_a_process_killed_with_9_between_fact_and_delivery_is_followed_by_another(fact, receiver, monkeypatch) -> None:
    """It is killed while the server has the message and has not answered: told twice, under one key."""
    channel = {"notifier": "airflow_sop_provider.notifications.webhook.WebhookNotifier", "kwargs": {"conn_id": "ops"}}
    monkeypatch.setenv("AIRFLOW__SOP__ESCALATION_CHANNELS", json.dumps([channel]))
    receiver.stalled = Event()
    with subprocess.Popen([sys.executable, "-c", DISPATCH], env=dict(os.environ)) as process:
        while not receiver.got:
            assert process.poll() is None, "it ended without telling"
            time.sleep(0.05)
        process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    receiver.stalled.set()
    assert turn(channel) == 0, "it is still claimed"
    assert turn(channel, after=130) == 1
    assert turn(channel, after=999) == 0
    keys = [headers["Idempotency-Key"] for _, headers, _ in receiver.got]
    assert keys == [fact, fact]
    assert all(SECRET not in str(one) for one in receiver.got)


def test_a_process_killed_before_it_looks_leaves_the_fact(fact, receiver: Receiver) -> None:
    killed = "import os, signal; os.kill(os.getpid(), signal.SIGKILL)\n"
    script = DISPATCH.replace("dispatch(create_session)\n", killed)
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == -signal.SIGKILL
    channel = {"notifier": "airflow_sop_provider.notifications.webhook.WebhookNotifier", "kwargs": {"conn_id": "ops"}}
    assert turn(channel) == 1
    assert [headers["Idempotency-Key"] for _, headers, _ in receiver.got] == [fact]
