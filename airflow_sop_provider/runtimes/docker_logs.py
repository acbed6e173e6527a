"""A container's output through the Docker API, each line once (`log_times` says how)."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from typing import TYPE_CHECKING

from airflow_sop_provider.runtimes.log_times import Positions, nanoseconds_of, seconds_of

if TYPE_CHECKING:
    from aiodocker.containers import DockerContainer

__all__ = ["lines_after", "whole_lines"]


async def lines_after(container: DockerContainer, offset: int, *, over: bool) -> AsyncIterator[tuple[int, str]]:
    """Follow the output from ``offset`` on until the connection or the container ends.

    :param over: the container has ended. Only then is the output complete: Podman stops following at once when a
        container ends, with lines left.
    :raises DockerError: the engine refuses or is gone.
    """
    since = seconds_of(offset)  # 0 is the beginning
    positions = Positions()
    if over:
        frames = _each(await container.log(stdout=True, stderr=True, follow=False, timestamps=True, since=since))
    else:
        frames = container.log(stdout=True, stderr=True, follow=True, timestamps=True, since=since)
    async for moment, line in whole_lines(frames):
        after = positions.after(moment)
        if after > offset:
            yield after, line


async def _each(frames: Iterable[str]) -> AsyncIterator[str]:
    for frame in frames:
        yield frame


async def whole_lines(frames: AsyncIterator[str]) -> AsyncIterator[tuple[int, str]]:
    """Put frames together to lines with the time of their beginning.

    An engine cuts long lines (Docker at 16 KiB) and puts a time before each piece; only the last has a newline.
    """
    begun: list[str] = []
    moment = 0
    async for frame in frames:
        stamp, _, text = frame.partition(" ")
        time = nanoseconds_of(stamp)
        if time is None:
            text = frame
        elif not begun:
            moment = time
        begun.append(text)
        if text.endswith("\n"):
            yield moment, "".join(begun).removesuffix("\n").removesuffix("\r")
            begun = []
    if begun:
        yield moment, "".join(begun)
