"""A verdict that does not fit into a termination message, as lines of the container's output.

Kubernetes brings back 4,096 bytes of a container that has ended, and its output. So the message holds the verdict
without its outputs and the SHA-256 of the whole one, and the whole one stands in the output, compressed, in lines
short enough that no container runtime cuts them (16 KiB). Whoever reads it can tell it from what a step prints by
the digest.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
import zlib
from collections.abc import Iterable

from pydantic import ValidationError

from airflow_sop_provider.contract.verdict import Verdict

__all__ = ["VERDICT_LINE", "VerdictLines", "lines_of"]

VERDICT_LINE = "sop-verdict "
"""What each of the lines begins with."""

_CHUNK = 12_000
_LARGEST = 64 * 1024 * 1024
_LINE = re.compile(r"sop-verdict ([0-9a-f]{64}) ([0-9]{1,6})/([0-9]{1,6}) ([A-Za-z0-9+/=]+)")


def lines_of(verdict: Verdict) -> list[str]:
    """Return a verdict as lines, without newlines."""
    text = base64.b64encode(zlib.compress(verdict.encoded())).decode()
    chunks = [text[start : start + _CHUNK] for start in range(0, len(text), _CHUNK)]
    digest = verdict.digest()
    return [f"{VERDICT_LINE}{digest} {number}/{len(chunks)} {chunk}" for number, chunk in enumerate(chunks, 1)]


class VerdictLines:
    """Collects the lines of one verdict from an output.

    :param digest: SHA-256 (hex) of the verdict, from the termination message.
    """

    def __init__(self, digest: str) -> None:
        self._digest = digest
        self._chunks: dict[int, str] = {}
        self._wanted = 0

    def add(self, line: str) -> None:
        """Look at a line of the output; one of another verdict or of none is passed over."""
        found = _LINE.fullmatch(line)
        if found is not None and found[1] == self._digest:
            self._chunks[int(found[2])] = found[4]
            self._wanted = int(found[3])

    def add_all(self, lines: Iterable[str]) -> None:
        """Look at each of several lines."""
        for line in lines:
            self.add(line)

    def verdict(self) -> Verdict | None:
        """Return the verdict, None if lines are missing or it is not the one of the digest."""
        if not self._wanted or set(self._chunks) != set(range(1, self._wanted + 1)):
            return None
        text = "".join(self._chunks[number] for number in sorted(self._chunks))
        try:
            inflate = zlib.decompressobj()
            encoded = inflate.decompress(base64.b64decode(text, validate=True), _LARGEST)
            whole = hashlib.sha256(encoded).hexdigest() == self._digest
            return Verdict.model_validate_json(encoded) if whole else None
        except (binascii.Error, zlib.error, ValidationError):
            return None
