"""A client of the engine over HTTP, for Python programs and the command line.

`ExecutionCoordinator` and `AsyncExecutionCoordinator` offer the same calls; what is sent and what an answer means is
decided once, in `client.calls`.
"""

from airflow_sop_provider.client.calls import EngineError, ExecutionStatus, NotAllowedError, RefusedError
from airflow_sop_provider.client.coordinator import AsyncExecutionCoordinator, ExecutionCoordinator

__all__ = [
    "AsyncExecutionCoordinator",
    "EngineError",
    "ExecutionCoordinator",
    "ExecutionStatus",
    "NotAllowedError",
    "RefusedError",
]
