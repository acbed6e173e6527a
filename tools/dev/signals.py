"""Turns the signals that ask us to end into an exception, so that every context closes on the way out."""

from __future__ import annotations

import signal
from types import FrameType
from typing import NoReturn

__all__ = ["Stopped", "raise_on_signals"]

_ASK_TO_END = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Stopped(BaseException):
    """A signal asks us to end: Ctrl-C, a service manager, a terminal that closes."""


def raise_on_signals() -> None:
    """Have SIGINT, SIGTERM and SIGHUP raise `Stopped` in the main thread."""
    for number in _ASK_TO_END:
        signal.signal(number, _raise)


def _raise(number: int, frame: FrameType | None) -> NoReturn:
    raise Stopped(signal.Signals(number).name)
