"""The child's own process: what it says where the scheduler's log is."""

from __future__ import annotations

import os
import subprocess
import sys

PROGRAM = """
from airflow_sop_provider.executors import child
child._quieten()
from airflow import settings
settings.initialize()
import structlog
log = structlog.get_logger("airflow.api_fastapi.execution_api.routes.task_instances")
log.info("Task started")
log.warning("Cannot start")
structlog.get_logger("airflow.other").info("Something else")
structlog.get_logger("airflow.given").warning("Not this")
"""


def test_states_that_are_set_are_not_told_line_by_line_and_the_sites_own_levels_stay() -> None:
    environment = {**os.environ, "AIRFLOW__LOGGING__NAMESPACE_LEVELS": "airflow.given=error"}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], check=True, capture_output=True, text=True, timeout=120, env=environment
    )
    said = done.stdout + done.stderr
    assert "Cannot start" in said
    assert "Something else" in said
    assert "Task started" not in said
    assert "Not this" not in said
