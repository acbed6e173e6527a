"""The scheduler's end of the child process: start it, write to it, read from it, notice its death.

Everything runs in the scheduler's own loop, without a thread: a scheduler forks workers, and a
thread's locks do not survive a fork. Writes block at most `SEND_TIMEOUT_SECONDS`; the child reads
at once, so a write that takes longer means that the child hangs, and it is treated as dead.
"""

from __future__ import annotations

import contextlib
import logging
import select
import socket
import subprocess
import sys

from pydantic import BaseModel, ValidationError

from airflow_sop_provider.executors.messages import FinishedMessage, decode

__all__ = ["ChildGone", "ChildLink"]

log = logging.getLogger(__name__)

SEND_TIMEOUT_SECONDS = 10.0
_READ_SIZE = 1 << 16


class ChildGone(Exception):
    """The executor's child process has ended or does not answer."""


class ChildLink:
    """One child process and the socket to it.

    :raises OSError: if the process cannot be started.
    """

    def __init__(self) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        ours.settimeout(SEND_TIMEOUT_SECONDS)
        with theirs:
            # A session of its own: Ctrl-C in the scheduler's terminal must not end the child, which
            # ends by itself when the socket closes.
            self._process = subprocess.Popen(  # noqa: S603 - our own module and a number
                [sys.executable, "-m", "airflow_sop_provider.executors.child", str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )
        self._socket = ours
        self._unread = b""

    @property
    def pid(self) -> int:
        """Process id of the child."""
        return self._process.pid

    def send(self, message: BaseModel) -> None:
        """Write one message.

        :raises ChildGone: if the child has ended or does not read.
        """
        try:
            self._socket.sendall(message.model_dump_json().encode() + b"\n")
        except OSError as error:
            raise ChildGone(f"the executor's child (pid {self.pid}) does not take messages: {error}") from error

    def receive(self) -> list[FinishedMessage]:
        """Return what the child has said since the last call, without waiting.

        :raises ChildGone: once everything said was returned and the child has ended.
        """
        # Asked first: what it said before it died is read after that.
        dead = self._process.poll() is not None
        ended = self._read_available() or dead
        *lines, self._unread = self._unread.split(b"\n")
        messages = [message for line in lines if (message := _message_of(line)) is not None]
        if ended and not messages:
            raise ChildGone(f"the executor's child (pid {self.pid}) ended with code {self._process.poll()}")
        return messages

    def _read_available(self) -> bool:
        while select.select([self._socket], [], [], 0)[0]:
            try:
                data = self._socket.recv(_READ_SIZE)
            except OSError:
                return True
            if not data:
                return True
            self._unread += data
        return False

    def close(self, timeout: float = 5.0) -> None:
        """Close the socket, which ends the child; kill it if it does not end within ``timeout`` seconds."""
        self._socket.close()
        try:
            self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()
            self._process.wait()


def _message_of(line: bytes) -> FinishedMessage | None:
    try:
        message = decode(line)
    except ValidationError:
        log.exception("the executor's child said something that is no message: %r", line[:200])
        return None
    return message if isinstance(message, FinishedMessage) else None
