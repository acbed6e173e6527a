"""The door to agents for the code of steps: prepares the process, then loads ADK and runs one."""

from __future__ import annotations

import asyncio
import gc
import os
from typing import Any

from airflow_sop_provider.runner.failures import bad_configuration
from airflow_sop_provider.runner.step_context import StepContext

__all__ = ["carry_out"]

_ADK_ENVIRONMENT = {
    "GOOGLE_API_USE_CLIENT_CERTIFICATE": "false",
    "NO_GCE_CHECK": "true",
    "ADK_CAPTURE_MESSAGE_CONTENT_IN_SPANS": "false",  # true by default, which puts prompts into traces
}


def carry_out(context: StepContext) -> Any:
    """Have an agent carry out the assignment.

    :raises StepFailureError: it failed; exit 78 (``agent-unavailable``) if this runner has no ADK.
    """
    for name, value in _ADK_ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    gc.disable()  # as for MCP: importing makes many objects and no garbage
    try:
        from airflow_sop_provider.runner.agents.run import run
    except ModuleNotFoundError as error:
        raise bad_configuration(
            "agent-unavailable", f"An agent is needed, and this runner has none: {error}. Install the extra `agents`."
        ) from error
    finally:
        gc.enable()
    return asyncio.run(run(context))
