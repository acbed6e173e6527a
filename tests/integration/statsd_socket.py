"""What a statsd server would hear, kept by name."""

from __future__ import annotations

import socket
from threading import Thread

__all__ = ["StatsdSocket"]


class StatsdSocket:
    """A UDP socket of this machine and a thread that reads it.

    :ivar heard: name -> the values that came under it, such as ``1|c``.
    """

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        self.port: int = self._socket.getsockname()[1]
        self.heard: dict[str, list[str]] = {}
        self._thread = Thread(target=self._read, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End the thread by a datagram of its own."""
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as own:
            own.sendto(b"", ("127.0.0.1", self.port))
        self._thread.join()
        self._socket.close()

    def _read(self) -> None:
        while said := self._socket.recv(65536):
            for line in said.decode().splitlines():
                name, _, value = line.partition(":")
                self.heard.setdefault(name, []).append(value)
