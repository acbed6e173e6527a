"""How many calls an execution may make, and a server may get, in a minute.

Counted in this process by the library `limits` (moving window): with several gateway processes the limit holds in each.
"""

from __future__ import annotations

from limits import RateLimitItemPerMinute
from limits.aio.storage import MemoryStorage
from limits.aio.strategies import MovingWindowRateLimiter

from airflow_sop_provider.contract.exit_codes import ErrorType, ExitCode
from airflow_sop_provider.fleet.call_failures import CallFailedError
from airflow_sop_provider.fleet.registry import HttpServer, StdioServer

__all__ = ["Rates"]


class Rates:
    """Limits of calls a minute.

    :param execution_calls: calls of one execution in a minute, to all servers together.
    """

    def __init__(self, execution_calls: int = 1200) -> None:
        self._limiter = MovingWindowRateLimiter(MemoryStorage())
        self._execution = RateLimitItemPerMinute(execution_calls)

    async def check(self, execution: tuple[str, str], name: str, server: HttpServer | StdioServer) -> None:
        """Count a call.

        :raises CallFailedError: ``fleet-rate-limited`` (transient): there were too many in the last minute.
        """
        if not await self._limiter.hit(self._execution, "execution", *execution):
            raise _too_many(f"The execution made {self._execution.amount} calls in a minute, as many as it may")
        if server.max_calls_per_minute is not None:
            limit = RateLimitItemPerMinute(server.max_calls_per_minute)
            if not await self._limiter.hit(limit, "server", name):
                raise _too_many(f"`{name}` got {limit.amount} calls in a minute, as many as fleet.yaml allows")


def _too_many(text: str) -> CallFailedError:
    return CallFailedError(
        ErrorType.TRANSIENT, ExitCode.TRANSIENT, "fleet-rate-limited", f"{text}. Call it less often."
    )
