"""`make run` as a person meets it: the sample SOP's result, a component that dies, Ctrl-C.

One folder serves all of it, as one person's checkout does; each test starts a real Airflow.
"""

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time

import psutil
import pytest

from tools.dev.environment import ROOT
from tools.dev.rest import AirflowApi

pytestmark = pytest.mark.airflow

SAMPLE = "software-licence-review"


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    return tmp_path_factory.mktemp("run") / "home"


class Run:
    """A `make run` whose output is read line by line while it runs."""

    def __init__(self, home, *arguments):
        self.home = home
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tools.dev.run", "--home", str(home), *arguments],
            cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            start_new_session=True,
        )  # fmt: skip
        self.lines: list[str] = []
        self._changed = threading.Condition()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self):
        for line in self.process.stdout:
            with self._changed:
                self.lines.append(line.rstrip())
                self._changed.notify_all()
        with self._changed:
            self.lines.append("")
            self._changed.notify_all()

    def wait_for(self, text: str) -> None:
        with self._changed:
            self._changed.wait_for(lambda: self.process.poll() is not None or any(text in line for line in self.lines))
        assert any(text in line for line in self.lines), "\n".join(self.lines)

    def end(self) -> int:
        code = self.process.wait()
        with self._changed:
            self._changed.wait_for(lambda: self.lines and self.lines[-1] == "", timeout=10)
        return code

    def left_over(self) -> list[str]:
        found = []
        for process in psutil.process_iter():
            try:
                if str(self.home) in " ".join([*process.cmdline(), *process.environ().values()]):
                    found.append(f"{process.pid} {process.cmdline()}")
            except psutil.Error:
                continue
        return found


def test_the_sample_is_carried_out_and_ctrl_c_ends_everything_even_running_steps(home):
    run = Run(home)
    run.wait_for("Airflow stays up; press Ctrl-C to stop it.")
    output = "\n".join(run.lines)
    for step in ("inventory", "licences", "classify", "decide", "report"):
        assert f"{step}: success" in output
    assert "Result of report" in output
    assert json.loads((home / "results" / f"{SAMPLE}.json").read_text())["report"]["distributions"] > 100
    [(url, password)] = re.findall(r"Airflow: (http://\S+)  login: admin / (\S+)", output)
    api = AirflowApi(url, "admin", password)
    again = api.trigger(SAMPLE, {})
    while not any(step.state == "running" for step in api.steps(SAMPLE, again)):
        assert run.process.poll() is None, "\n".join(run.lines)
        time.sleep(0.5)
    api.close()
    os.kill(run.process.pid, signal.SIGINT)
    assert run.end() == 0
    assert "Stopped." in run.lines
    assert not any("Traceback" in line for line in run.lines)
    assert run.left_over() == []


def test_a_dead_component_is_one_line_and_ends_everything_even_running_steps(home):
    """The second start in a folder: the database is there."""
    run = Run(home, "--once")
    run.wait_for("inventory: running")
    assert not any("database prepared" in line for line in run.lines)
    [scheduler] = [
        process
        for process in psutil.Process(run.process.pid).children()
        if "scheduler" in process.cmdline() or "scheduler" in process.name()
    ]
    scheduler.kill()
    assert run.end() == 1
    [line] = [line for line in run.lines if line.startswith("sop: ")]
    assert line.startswith("sop: the scheduler was ended by SIGKILL from outside (its log: ")
    assert not any("Traceback" in line for line in run.lines)
    assert run.left_over() == []
