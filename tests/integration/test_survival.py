"""What is killed, fills up or is doubled: running steps are found again, none runs twice, none is lost."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.airflow_system import AirflowSystem

RUNS = 4


@pytest.fixture(scope="module")
def small_disk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A file system of 4 MiB, for logs; mounting needs root."""
    folder = tmp_path_factory.mktemp("small-disk")
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(folder)], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory, small_disk: Path) -> Iterator[AirflowSystem]:
    """An Airflow of this module's own: its components are killed, its disk for logs is small."""
    airflow = AirflowSystem(
        tmp_path_factory.mktemp("airflow-killed"),
        overrides={"logging": {"base_log_folder": str(small_disk)}, "core": {"parallelism": "8"}},
    )
    try:
        airflow.start()
        yield airflow
    finally:
        airflow.stop()


def _start_sleepers(airflow: AirflowSystem, folder: Path, seconds: float, count: int = RUNS) -> dict[str, Path]:
    """Trigger sleepers and return run id -> trace once all their commands have begun."""
    traces = {}
    for number in range(count):
        trace = folder / f"trace-{number}.txt"
        trace.touch()
        traces[airflow.trigger("sleeper", trace=str(trace), seconds=seconds)] = trace
    airflow.wait_for(
        lambda: all("start" in t.read_text() for t in traces.values()), "all commands to begin", seconds=180
    )
    return traces


def _assert_each_ran_once(airflow: AirflowSystem, traces: dict[str, Path]) -> None:
    for run, trace in traces.items():
        assert airflow.wait_for_run("sleeper", run, seconds=300) == "success"
        lines = trace.read_text().splitlines()
        assert [line.split()[0] for line in lines] == ["start", "end"], f"{run}: {lines}"
        assert airflow.step("sleeper", run, "sleep").attempt == 1
        ticks = [line for line in airflow.log_lines("sleeper", run, "sleep") if line.startswith("tick ")]
        assert ticks == [f"tick {number}" for number in range(1, 21)]


@pytest.mark.airflow
def test_scheduler_killed_while_steps_run_and_end(system: AirflowSystem, tmp_path: Path) -> None:
    traces = _start_sleepers(system, tmp_path, seconds=20)
    system.kill("scheduler")
    system.wait_for(
        lambda: not system.executor_children(), "the executor's child to end with its scheduler", seconds=60
    )
    assert system.attempt_processes(), "the steps go on without a scheduler"
    system.start_component("scheduler")
    _assert_each_ran_once(system, traces)


@pytest.mark.airflow
def test_scheduler_killed_and_steps_end_before_it_is_back(system: AirflowSystem, tmp_path: Path) -> None:
    traces = _start_sleepers(system, tmp_path, seconds=4)
    system.kill("scheduler")
    system.wait_for(lambda: all("end" in t.read_text() for t in traces.values()), "the commands to end", seconds=90)
    system.start_component("scheduler")
    _assert_each_ran_once(system, traces)


@pytest.mark.airflow
def test_executor_child_killed(system: AirflowSystem, tmp_path: Path) -> None:
    traces = _start_sleepers(system, tmp_path, seconds=15)
    children = system.executor_children()
    assert len(children) == 1
    os.kill(children[0], signal.SIGKILL)
    system.wait_for(
        lambda: set(system.executor_children()) - set(children), "the scheduler to start another child", seconds=90
    )
    _assert_each_ran_once(system, traces)


@pytest.mark.airflow
def test_api_server_killed_while_steps_end(system: AirflowSystem, tmp_path: Path) -> None:
    traces = _start_sleepers(system, tmp_path, seconds=8)
    system.kill("api-server")
    limit = time.monotonic() + 120
    while not all("end" in trace.read_text() for trace in traces.values()) and time.monotonic() < limit:
        time.sleep(0.5)
    system.start_component("api-server")
    system.wait_for(lambda: system.api.health() is not None, "the API server to be back", seconds=180)
    _assert_each_ran_once(system, traces)


@pytest.mark.airflow
def test_steps_killed_from_outside_are_crashes_and_tried_again(system: AirflowSystem, tmp_path: Path) -> None:
    (run, trace), *_ = _start_sleepers(system, tmp_path, seconds=6, count=1).items()
    for pid in system.attempt_processes():
        os.kill(pid, signal.SIGKILL)
    assert system.wait_for_run("sleeper", run) == "success"
    assert system.step("sleeper", run, "sleep").attempt == 2
    assert [line.split()[0] for line in trace.read_text().splitlines()] == ["start", "start", "end"]


@pytest.mark.airflow
def test_full_disk_in_the_log_folder(system: AirflowSystem, small_disk: Path) -> None:
    filler = small_disk / "filler"
    with filler.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(b"x" * 4096)
        except OSError:
            pass
    run, state = system.run("talker", lines=50)
    assert state == "success", "a full disk for logs does not fail a step"
    filler.unlink()
    expected = [f"line-{number}" for number in range(1, 51)]

    def complete() -> bool:
        lines = system.log_lines("talker", run, "talk")
        return [line for line in lines if line.startswith("line-")] == expected

    system.wait_for(complete, "the log to be completed once there is room", seconds=60)


def test_a_hundred_executions_at_once_all_complete(airflow: AirflowSystem, tmp_path: Path) -> None:
    """On PostgreSQL with two schedulers, of which one dies halfway."""
    traces = {}
    for number in range(100):
        trace = tmp_path / f"trace-{number}.txt"
        trace.touch()
        traces[airflow.trigger("sleeper", trace=str(trace), seconds=1)] = trace
    airflow.wait_for(lambda: any("end" in t.read_text() for t in traces.values()), "the first to end", seconds=180)
    two_schedulers = "scheduler-1" in airflow.components
    if two_schedulers:
        assert len(airflow.executor_children()) == 2
        airflow.kill("scheduler-1")
    try:
        for run, trace in traces.items():
            assert airflow.wait_for_run("sleeper", run, seconds=600) == "success"
            assert [line.split()[0] for line in trace.read_text().splitlines()] == ["start", "end"]
    finally:
        if two_schedulers:
            airflow.start_component("scheduler", 1)
