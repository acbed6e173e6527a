"""A container's output, each line once, however often the connection to it breaks (`log_times` says how)."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime

from airflow_sop_provider.runtimes.kube_api import KubeApi
from airflow_sop_provider.runtimes.log_times import Positions, nanoseconds_of, seconds_of

__all__ = ["lines_after", "since_of"]


async def lines_after(api: KubeApi, name: str, container: str, offset: int) -> AsyncIterator[tuple[int, str]]:
    """Follow the output from ``offset`` on until the connection or the container ends.

    :raises KubeError: as `KubeApi.log`.
    """
    positions = Positions()
    async for line in api.log(name, container, since=since_of(offset)):
        stamp, _, text = line.partition(b" ")
        moment = nanoseconds_of(stamp.decode(errors="replace"))
        if moment is None:  # the node itself has something to say, about a file it could not read, for example
            continue
        after = positions.after(moment)
        if after > offset:
            yield after, text.decode(errors="replace")


def since_of(offset: int) -> str | None:
    """Return from when on lines may be new, None for all."""
    return f"{datetime.fromtimestamp(seconds_of(offset), UTC):%Y-%m-%dT%H:%M:%SZ}" if offset else None
