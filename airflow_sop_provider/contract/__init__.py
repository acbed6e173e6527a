"""What passes between Airflow's side and a container: the one description both sides import.

The DAG carries a `StepPayload` per task, the executor turns it into an `Assignment` for one
attempt, the runner answers with a `Verdict`. These models live in a room of their own so that
neither the runner nor a runtime has to know the other (design, section 7).
"""

from airflow_sop_provider.contract.assignment import Assignment
from airflow_sop_provider.contract.attempt import AttemptKey, container_name
from airflow_sop_provider.contract.exit_codes import (
    EXIT_CODE_OF,
    ErrorType,
    ExitCode,
    error_type_of_exit_code,
)
from airflow_sop_provider.contract.payload import StepPayload
from airflow_sop_provider.contract.verdict import (
    TERMINATION_MESSAGE_LIMIT,
    UnreadableVerdictError,
    Usage,
    Verdict,
    VerdictError,
    VerdictStatus,
    read_verdict,
)

__all__ = [
    "EXIT_CODE_OF",
    "TERMINATION_MESSAGE_LIMIT",
    "Assignment",
    "AttemptKey",
    "ErrorType",
    "ExitCode",
    "StepPayload",
    "UnreadableVerdictError",
    "Usage",
    "Verdict",
    "VerdictError",
    "VerdictStatus",
    "container_name",
    "error_type_of_exit_code",
    "read_verdict",
]
