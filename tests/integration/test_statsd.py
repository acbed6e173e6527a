"""What executions on a real Airflow send to statsd, through Airflow's own client and over a real socket."""

from __future__ import annotations

import re

from airflow_sop_provider.api.stats import STATS
from tests.integration.airflow_system import AirflowSystem
from tests.integration.begun import Begun
from tests.integration.conftest import on_sqlite
from tests.integration.statsd_socket import StatsdSocket


@on_sqlite
def test_executions_attempts_and_errors_are_heard_of(
    airflow: AirflowSystem, begun: Begun, statsd: StatsdSocket
) -> None:
    begun["chain"].state(), begun["permanent"].state()
    expected = {
        "airflow.sop.execution.started.system_design", "airflow.sop.execution.ended.system_design.COMPLETED",
        "airflow.sop.execution.ended.system_design.FAILED", "airflow.sop.attempt.ended.step.succeeded",
        "airflow.sop.attempt.duration.step", "airflow.sop.attempt.error.permanent",
        "airflow.sop.attempt.cpu_milliseconds", "airflow.sop.queue.depth",
    }  # fmt: skip
    airflow.wait_for(lambda: expected <= statsd.heard.keys(), "the engine's metrics")
    assert any(re.fullmatch(r"[0-9.]+\|ms", value) for value in statsd.heard["airflow.sop.attempt.duration.step"])
    known = [re.compile(re.escape(f"airflow.{one.name}") + r"\.[^.]+" * len(one.labels)) for one in STATS]
    ours = [name for name in statsd.heard if name.startswith("airflow.sop.")]
    assert [name for name in ours if not any(one.fullmatch(name) for one in known)] == []
