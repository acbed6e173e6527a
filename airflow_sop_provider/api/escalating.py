"""Delivers what the outbox holds, through Airflow's notifiers.

The notifier runs between two short transactions: claimed before, settled after. So no lock is held while a mail server
is slow, and whoever is killed in the middle leaves a claim that ends by itself.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from inspect import signature
from pkgutil import resolve_name
from typing import Any

from airflow.sdk._shared.secrets_masker import redact
from airflow.sdk.bases.notifier import BaseNotifier
from sqlalchemy.orm import Session

from airflow_sop_provider.airflow_settings import EscalationSettings, escalation_settings
from airflow_sop_provider.store.base import utc_now
from airflow_sop_provider.store.deliveries import Claim, claim, settle, spread

__all__ = ["Dispatcher", "NotANotifierError", "dispatch"]

_LOG = logging.getLogger(__name__)
_AT_ONCE = 50

_WORDS = {
    "subject": "{{ sop }}: {{ kind }}",
    "html_content": "<p>{{ message | e }}</p><p>{{ execution | e }}</p>",
    "text": "{{ sop }}: {{ kind }}. {{ message }} ({{ execution }})",
}
"""What a notifier says that takes such an argument and was not given it: an SOP need only say whom to tell.

Airflow's mail would else take its words from a task instance, which an escalation does not have, and Slack's be empty.
"""

Sessions = Callable[[], AbstractContextManager[Session]]


class NotANotifierError(TypeError):
    """The dotted path is that of something else than a class of Airflow's notifiers."""


def dispatch(sessions: Sessions) -> int:
    """Deliver what is due; return how many were delivered. The job of the background.

    :raises SettingsError: the site's channels cannot be read; nothing is spread until they can.
    """
    return Dispatcher(sessions, escalation_settings()).turn()


@dataclass(frozen=True)
class Dispatcher:
    """One turn after the other over the outbox; it remembers nothing.

    :param sessions: makes sessions that are committed at their end.
    :param now: tells the time.
    """

    sessions: Sessions
    settings: EscalationSettings
    now: Callable[[], datetime] = utc_now

    def turn(self) -> int:
        """Spread new facts and deliver what is due; return how many were delivered."""
        with self.sessions() as session:
            spread(session, self.settings.channels, self.now())
        delivered = 0
        for _ in range(_AT_ONCE):
            with self.sessions() as session:
                claimed = claim(session, self.now(), per_minute=self.settings.per_minute)
            if claimed is None:
                break
            error = _tell(claimed)
            with self.sessions() as session:
                state = settle(session, claimed, error, self.now(), max_tries=self.settings.tries)
            delivered += state == "delivered"
            if state == "dead":
                _LOG.error("escalation %s to %s is given up: %s", claimed.message["id"], claimed.channel, error)
        return delivered


def _tell(claimed: Claim) -> str | None:
    """Call the notifier and return what went wrong, None if nothing did."""
    try:
        notifier = _build(claimed.target)
        notifier({"escalation": claimed.message, **claimed.message})
    except Exception as error:  # whatever a site's notifier raises is an attempt that failed
        return str(redact(f"{type(error).__name__}: {error}"))
    return None


def _build(target: dict[str, Any]) -> BaseNotifier:
    found = resolve_name(target["notifier"])
    if not (isinstance(found, type) and issubclass(found, BaseNotifier)):
        raise NotANotifierError(f"{target['notifier']} is not a class of Airflow's notifiers.")
    taken = signature(found.__init__).parameters
    words = {name: text for name, text in _WORDS.items() if name in taken}
    return found(**{**words, **target["kwargs"]})
