"""What is sent to statsd, read from a socket behind Airflow's own client: what really happened, once."""

from __future__ import annotations

import re
import socket
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import timedelta

import pytest
from airflow.observability.metrics.stats_utils import get_stats_factory
from airflow.observability.stats import Stats
from airflow.utils.session import create_session

from airflow_sop_provider.api import stats
from airflow_sop_provider.contract.attempt import AttemptKey
from airflow_sop_provider.contract.verdict import Usage
from airflow_sop_provider.store.attempts import AttemptBegin, AttemptEnd, begin_attempt, end_attempt
from airflow_sop_provider.store.executions import find_execution
from airflow_sop_provider.store.tables import BreakerRow
from tests.api.test_executions import finish, submit

Receive = Callable[[], dict[str, str]]


@pytest.fixture
def received(monkeypatch: pytest.MonkeyPatch) -> Iterator[Receive]:
    """Give what has arrived since the last call: name -> value and type; equal names are added up."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as listening:
        listening.bind(("127.0.0.1", 0))
        listening.setblocking(False)
        monkeypatch.setenv("AIRFLOW__METRICS__STATSD_ON", "True")
        monkeypatch.setenv("AIRFLOW__METRICS__STATSD_PORT", str(listening.getsockname()[1]))
        Stats.initialize(factory=get_stats_factory(), export_legacy_names=True)

        def take() -> dict[str, str]:
            counts: Counter[str] = Counter()
            rest: dict[str, str] = {}
            while True:
                try:
                    name, _, value = listening.recv(65536).decode().partition(":")
                except BlockingIOError:
                    return {**rest, **{name: f"{count}|c" for name, count in counts.items()}}
                if value.endswith("|c"):
                    counts[name] += int(value[:-2])
                else:
                    rest[name] = value

        yield take
    monkeypatch.undo()
    Stats.initialize(factory=get_stats_factory(), export_legacy_names=True)


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """What has just happened is told at once."""
    monkeypatch.setattr(stats, "_SETTLE", timedelta(0))


def told() -> None:
    stats.send_stats(create_session)


def carried_out(admin, chain: str, set_tasks) -> None:
    run_id = submit(admin, chain).json()["run_id"]
    key = AttemptKey(sop=chain, run_id=run_id, step="first", attempt=1, task_instance_id=f"t-{run_id[-8:]}")
    usage = Usage(wall_seconds=2.0, cpu_seconds=1.5, peak_memory_bytes=2**20)
    with create_session() as session:
        row = find_execution(session, chain, run_id)
        begin_attempt(session, row, AttemptBegin(key=key, kind="step", runtime="local"))
        end_attempt(session, row, AttemptEnd(key=key, state="retrying", error_type="transient", usage=usage))
    set_tasks(chain, run_id, first="success", second="success")
    finish(chain, run_id, "success")


def test_what_happened_is_sent_once(admin, chain, set_tasks, received, at_once) -> None:
    told()
    received()
    carried_out(admin, chain, set_tasks)
    told()
    got = received()
    assert got["airflow.sop.execution.started.system_design"] == "1|c"
    assert got["airflow.sop.execution.ended.system_design.COMPLETED"] == "1|c"
    assert re.fullmatch(r"[0-9.]+\|ms", got["airflow.sop.execution.duration.system_design.T-1"])
    assert got["airflow.sop.attempt.ended.step.retrying"] == "1|c"
    assert got["airflow.sop.attempt.error.transient"] == "1|c"
    assert got["airflow.sop.attempt.cpu_milliseconds"] == "1500|c"
    told()
    assert not [name for name, value in received().items() if value.endswith("|c")], "a counter counts once"


def test_levels_are_those_of_now(admin, chain, received, at_once) -> None:
    told()
    before = int(received()["airflow.sop.queue.depth"].partition("|")[0])
    submit(admin, chain)
    with create_session() as session:
        session.add(BreakerRow(server="docs.example", state="open", window="1" * 6 + "0" * 4))
    told()
    got = received()
    assert got["airflow.sop.queue.depth"] == got["airflow.sop.execution.open.SUBMITTED"] == f"{before + 1}|g"
    assert got["airflow.sop.breaker.state.docs_example"] == "2|g"
    assert got["airflow.sop.breaker.failure_ratio.docs_example"] == "0.6|g"


def test_every_name_is_one_that_the_mapping_knows(admin, chain, set_tasks, received, at_once) -> None:
    told()
    carried_out(admin, chain, set_tasks)
    told()
    patterns = [re.compile(re.escape(f"airflow.{one.name}") + r"\.[^.]+" * len(one.labels)) for one in stats.STATS]
    ours = [name for name in received() if name.startswith("airflow.sop.")]
    assert len(ours) > 8
    assert [name for name in ours if not any(one.fullmatch(name) for one in patterns)] == []


def test_nothing_is_asked_of_the_database_where_nobody_listens(chain) -> None:
    def none():
        raise AssertionError("a session was opened")

    stats.send_stats(none)
    assert not stats.configured()


def test_labels_cannot_break_a_name() -> None:
    assert stats.DURATION.of("system_design", "AP.017: a|b") == "sop.execution.duration.system_design.AP_017__a_b"
    assert stats.DURATION.of("system_design", None) == "sop.execution.duration.system_design.none"
