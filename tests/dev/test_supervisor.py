"""One Airflow in a folder, a port that is free, and a dead component is one line."""

import re
import socket
import sys
from pathlib import Path

import pytest

from tools.dev import supervisor
from tools.dev.instance import Instance
from tools.dev.processes import start_component
from tools.dev.supervisor import LocalAirflow, SupervisorError, choose_port


@pytest.fixture
def taken():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield listener.getsockname()[1]


def test_a_port_in_use_names_the_remedy(taken):
    with pytest.raises(SupervisorError, match=rf"port {taken} is in use by another program: .*make run PORT="):
        choose_port(taken)


def test_a_number_that_is_no_port_is_refused_likewise():
    with pytest.raises(SupervisorError):
        choose_port(70_000)


def test_without_a_wish_the_next_free_port_is_taken(taken, monkeypatch):
    monkeypatch.setattr(supervisor, "FIRST_PORT", taken)
    assert taken < choose_port(None) < taken + 20


def test_a_folder_has_one_airflow(tmp_path):
    lock = supervisor._take_lock(tmp_path)
    lock.write("4711 http://127.0.0.1:8080")
    lock.flush()
    with pytest.raises(SupervisorError, match=r"in use by another `make run` \(process 4711, http://127.0.0.1:8080\)"):
        supervisor._take_lock(tmp_path)
    lock.close()
    supervisor._take_lock(tmp_path).close()


def dead(tmp_path: Path, code: str) -> LocalAirflow:
    airflow = LocalAirflow(Instance(home=tmp_path))
    component = start_component(
        "scheduler", [sys.executable, "-c", code], environment={}, log=tmp_path / "scheduler.log"
    )
    component.process.wait()
    airflow.components["scheduler"] = component
    return airflow


def test_a_dead_component_is_named_with_its_reason(tmp_path):
    airflow = dead(tmp_path, "raise RuntimeError('no such table')")
    expected = f"the scheduler ended with code 1: RuntimeError: no such table (all of it: {tmp_path / 'scheduler.log'})"
    with pytest.raises(SupervisorError, match=re.escape(expected)):
        airflow.check()


def test_one_that_was_killed_is_not_given_an_old_error_as_reason(tmp_path):
    airflow = dead(tmp_path, "import os; print('OldError: gone long ago', flush=True); os.kill(os.getpid(), 9)")
    with pytest.raises(SupervisorError) as caught:
        airflow.check()
    said = f"the scheduler was ended by SIGKILL from outside (its log: {tmp_path / 'scheduler.log'})"
    assert str(caught.value) == said


def test_waiting_for_a_dead_component_ends(tmp_path):
    airflow = dead(tmp_path, "print('bye'); raise SystemExit(3)")
    with pytest.raises(SupervisorError, match="scheduler ended with code 3: bye"):
        airflow.wait_until_ready(["scheduler"])


def test_the_last_log_of_a_component_is_kept(tmp_path):
    instance = Instance(home=tmp_path)
    instance.prepare()
    airflow = LocalAirflow(instance)
    (instance.logs / "scheduler.log").write_text("before")
    airflow._fresh_log("scheduler")
    assert (instance.logs / "scheduler.last.log").read_text() == "before"
