"""Brings events to the engine while a step runs, so that they can be watched live and survive the container.

A thread that never delays the step: it begins after two seconds, because most deterministic steps are over by then and
their events travel in the verdict, and whatever it could not deliver does so, too. `http.client` and nothing else:
an HTTP library would cost the start of every step more than the step. The engine may answer late or be away; a batch
is sent again until it is acknowledged, and the engine tells by the numbers what it has.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from airflow_sop_provider.runner.pending_events import PendingEvents

__all__ = ["EVENTS_PATH", "EventShipper", "ShippingError", "post_events"]

EVENTS_PATH = "/api/v1/runner/events"
"""Below the engine's address."""

_FIRST_SECONDS = 2.0
_PAUSE_SECONDS = 1.0
_LONGEST_PAUSE_SECONDS = 30.0
_TIMEOUT_SECONDS = 10.0
_BATCH_EVENTS = 200
_BATCH_BYTES = 256 * 1024
_TOKEN_LIMIT = 64 * 1024


class ShippingError(Exception):
    """The engine did not take a batch; it is sent again later."""


@dataclass(frozen=True)
class EventShipper:
    """Sends pending events until the process ends.

    :param send: delivers the body of a request or raises `ShippingError`.
    :param first: seconds before the first batch, ``pause``: between batches.
    """

    pending: PendingEvents
    send: Callable[[bytes], None]
    first: float = _FIRST_SECONDS
    pause: float = _PAUSE_SECONDS

    @classmethod
    def to_engine(cls, pending: PendingEvents, url: str, token_file: Path | None) -> EventShipper:
        """Return the shipper for the engine at ``url``."""
        return cls(pending, lambda body: post_events(url, token_file, body))

    def start(self) -> None:
        """Start the thread; it ends with the process."""
        threading.Thread(target=self._run, name="event-shipper", daemon=True).start()

    def _run(self) -> None:
        wake = threading.Event()
        wait = self.first
        while not wake.wait(wait):
            try:
                more = self.ship_once()
            except ShippingError:
                wait = min(max(wait, self.pause) * 2, _LONGEST_PAUSE_SECONDS)
            else:
                wait = 0.0 if more else self.pause

    def ship_once(self) -> bool:
        """Send one batch, if there is anything; True if there may be more at once.

        :raises ShippingError: it was not taken.
        """
        batch = self.pending.batch(_BATCH_EVENTS, _BATCH_BYTES)
        heartbeat, self.pending.heartbeat = self.pending.heartbeat, None
        texts = [event.text for event in batch] + ([heartbeat] if heartbeat else [])
        if not texts:
            return False
        self.send(b'{"events":[' + b",".join(texts) + b"]}")
        self.pending.acknowledge(batch)
        return len(batch) == _BATCH_EVENTS


def post_events(url: str, token_file: Path | None, body: bytes) -> None:
    """Send a batch to the engine.

    :param token_file: read anew for each call, because the token is renewed while the attempt runs.
    :raises ShippingError: the engine is away, refuses the token or the batch.
    """
    import http.client  # 20 ms, which only steps that last pay, and in this thread

    kinds = {"http": http.client.HTTPConnection, "https": http.client.HTTPSConnection}
    try:
        target = urlsplit(url)
        connection = kinds[target.scheme](target.hostname or "", target.port, timeout=_TIMEOUT_SECONDS)
        headers = {"Content-Type": "application/json", **_authorization(token_file)}
        try:
            connection.request("POST", target.path.rstrip("/") + EVENTS_PATH, body, headers)
            answer = connection.getresponse()
            answer.read(_TOKEN_LIMIT)
        finally:
            connection.close()
    except (OSError, ValueError, KeyError, http.client.HTTPException) as error:
        raise ShippingError(f"The engine cannot be reached at {url}: {error!r}") from error
    if not http.client.OK <= answer.status < http.client.MULTIPLE_CHOICES:
        raise ShippingError(f"The engine answered {answer.status} {answer.reason}.")


def _authorization(token_file: Path | None) -> dict[str, str]:
    if token_file is None:
        return {}
    with token_file.open() as file:
        return {"Authorization": f"Bearer {file.read(_TOKEN_LIMIT).strip()}"}
