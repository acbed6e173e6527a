"""Where attempts run: one small interface, and the runtimes behind it.

`base` is the interface, `kubernetes`, `docker` and `local` run attempts, `select` chooses.
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
from airflow_sop_provider.runtimes.select import Choice, RuntimeSettings, choose_runtime, open_runtime

__all__ = [
    "AttemptSpec",
    "Choice",
    "Handle",
    "LocalRuntime",
    "Outcome",
    "Runtime",
    "RuntimeFailedError",
    "RuntimeSettings",
    "RuntimeStartError",
    "RuntimeStateError",
    "choose_runtime",
    "open_runtime",
]
