"""A container's output, each line once, however often the connection to it breaks.

Kubernetes has no offset to continue from: only a time in whole seconds. But it can put before each line the
time at which the node read it, in nanoseconds. So the position in the output is that time and the number of
lines already read with exactly that time; after a break the last second is read again and what was given is left out.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from datetime import UTC, datetime

from airflow_sop_provider.runtimes.kube_api import KubeApi

__all__ = ["lines_after", "position", "since_of"]

_ORDINALS = 1024
"""Lines that may have the same nanosecond; more than that would be read twice."""
_NANOSECONDS = 1_000_000_000
_TIME = re.compile(rb"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?(Z|[+-]\d\d:\d\d)")


async def lines_after(api: KubeApi, name: str, container: str, offset: int) -> AsyncIterator[tuple[int, str]]:
    """Follow the output from ``offset`` on until the connection or the container ends.

    :raises KubeError: as `KubeApi.log`.
    """
    last, ordinal = 0, 0
    async for line in api.log(name, container, since=since_of(offset)):
        stamp, _, text = line.partition(b" ")
        moment = _nanoseconds(stamp)
        if moment is None:  # the node itself has something to say, about a file it could not read, for example
            continue
        ordinal = ordinal + 1 if moment == last else 0
        last = moment
        after = position(moment, ordinal)
        if after > offset:
            yield after, text.decode(errors="replace")


def position(nanoseconds: int, ordinal: int) -> int:
    """Return the offset after the ``ordinal``-th line (from 0) written at a time."""
    return nanoseconds * _ORDINALS + min(ordinal, _ORDINALS - 1)


def since_of(offset: int) -> str | None:
    """Return from when on lines may be new, None for all."""
    if not offset:
        return None
    return f"{datetime.fromtimestamp(offset // _ORDINALS // _NANOSECONDS, UTC):%Y-%m-%dT%H:%M:%SZ}"


def _nanoseconds(stamp: bytes) -> int | None:
    """Return nanoseconds since 1970 of an RFC 3339 time with up to nine decimals, None if it is none."""
    found = _TIME.fullmatch(stamp)
    if found is None:
        return None
    whole, decimals, zone = (part.decode() for part in found.groups(default=b""))
    seconds = int(datetime.fromisoformat(whole + zone).timestamp())
    return seconds * _NANOSECONDS + int(decimals.ljust(9, "0"))
