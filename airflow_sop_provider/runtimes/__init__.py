"""Where attempts run: one small interface, and the runtimes behind it.

`base` is the interface, `local` runs attempts as processes of this host, `select` chooses.
"""

from airflow_sop_provider.runtimes.base import (
    AttemptSpec,
    Handle,
    Outcome,
    Runtime,
    RuntimeFailedError,
    RuntimeStartError,
    RuntimeStateError,
)
from airflow_sop_provider.runtimes.local import LocalRuntime
from airflow_sop_provider.runtimes.select import RuntimeSettings, open_runtime

__all__ = [
    "AttemptSpec",
    "Handle",
    "LocalRuntime",
    "Outcome",
    "Runtime",
    "RuntimeFailedError",
    "RuntimeSettings",
    "RuntimeStartError",
    "RuntimeStateError",
    "open_runtime",
]
