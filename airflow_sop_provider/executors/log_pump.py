"""Copies an attempt's output to its log file while it runs, and survives a full disk.

The output itself is safe with the runtime, so a log that cannot be written now is written later,
from the same place on. The attempt's result does not wait for it longer than `PATIENCE_SECONDS`.
"""

from __future__ import annotations

import asyncio
import logging

from airflow_sop_provider.executors.attempt_log import AttemptLog
from airflow_sop_provider.runtimes.base import Handle, Runtime

__all__ = ["LINGER_SECONDS", "PATIENCE_SECONDS", "pump"]

log = logging.getLogger(__name__)

PATIENCE_SECONDS = 5.0
"""How long an attempt that is over waits for its log to be complete before its result is reported."""

LINGER_SECONDS = 600.0
"""How long a log that could not be written is tried again after that."""

_FLUSH_SECONDS = 0.2
_RETRY_SECONDS = 1.0


async def pump(runtime: Runtime, handle: Handle, log_file: AttemptLog) -> None:
    """Return once the whole output is in the log file."""
    news = asyncio.Event()
    flusher = asyncio.ensure_future(_flush_soon_after(news, log_file))
    try:
        async for offset, line in runtime.logs(handle, log_file.offset):
            log_file.add(offset, line)
            if log_file.wants_flush:
                await _flush(log_file)
            else:
                news.set()
    finally:
        flusher.cancel()
    await _flush(log_file)


async def _flush_soon_after(news: asyncio.Event, log_file: AttemptLog) -> None:
    """Write lines a moment after they came; thousands of attempts that say nothing cost nothing."""
    while True:
        await news.wait()
        news.clear()
        await asyncio.sleep(_FLUSH_SECONDS)
        await _flush(log_file)


async def _flush(log_file: AttemptLog) -> None:
    """Write what waits, trying again for as long as the disk is full."""
    warned = False
    while True:
        try:
            log_file.flush()
            return
        except OSError as error:
            if not warned:
                log.warning("the log of an attempt cannot be written, trying again: %s", error)
                warned = True
            await asyncio.sleep(_RETRY_SECONDS)
