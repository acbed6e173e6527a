"""Whatever was started is found and ended: in any session, without a parent, deaf to SIGTERM."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from tools.dev.environment import ROOT
from tools.dev.processes import end_components, start_component

# A component that starts a grandchild in a session of its own, which loses its parent, and both ignore SIGTERM.
STUBBORN = """
import os, signal, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        open(sys.argv[1], "w").write(str(os.getpid()))
        time.sleep(1000)
    os._exit(0)
open(sys.argv[2], "w").write(str(os.getpid()))
time.sleep(1000)
"""

SUPERVISOR = """
import sys, time
from pathlib import Path
from tools.dev.processes import *
become_subreaper()
folder = Path(sys.argv[1])
component = start_component("stubborn", [sys.executable, str(folder / "stubborn.py"), str(folder / "grandchild"),
    str(folder / "child")], environment={}, log=folder / "log")
while not all((folder / name).exists() and (folder / name).read_text() for name in ("grandchild", "child")):
    time.sleep(0.05)
"""


def pid_in(file: Path) -> int:
    while not (file.exists() and file.read_text()):
        time.sleep(0.05)
    return int(file.read_text())


def wait_until_gone(pid: int) -> None:
    # it may end between any two looks at it
    with contextlib.suppress(psutil.NoSuchProcess):
        while psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
            time.sleep(0.05)


def supervise(folder: Path, then: str) -> "subprocess.Popen[bytes]":
    (folder / "stubborn.py").write_text(STUBBORN)
    return subprocess.Popen([sys.executable, "-c", SUPERVISOR + then, str(folder)], cwd=ROOT)


def test_descendants_in_other_sessions_are_ended(tmp_path):
    process = supervise(tmp_path, "end_components([component], grace=0.2)\nassert end_descendants(grace=0.2)\n")
    assert process.wait() == 0
    for name in ("child", "grandchild"):
        assert not psutil.pid_exists(pid_in(tmp_path / name)), name


def test_an_orphan_that_ended_does_not_stay_as_a_zombie(tmp_path):
    process = supervise(
        tmp_path,
        "import os, signal, psutil\n"
        "pid = int((folder / 'grandchild').read_text())\n"
        "os.kill(pid, signal.SIGKILL)\n"
        "while psutil.pid_exists(pid):\n    reap([component]); time.sleep(0.05)\n"
        "assert not component.ended\n"
        "component.process.kill()\n"
        "while not component.ended:\n    reap([component]); time.sleep(0.05)\n"
        "assert component.process.returncode == -signal.SIGKILL\n",
    )
    assert process.wait() == 0


@pytest.mark.skipif(sys.platform != "linux", reason="a parent's death is signalled by Linux only")
def test_components_of_a_killed_supervisor_end(tmp_path):
    process = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import sys, time\nfrom pathlib import Path\nfrom tools.dev.processes import *\n"
            "folder = Path(sys.argv[1])\n"
            "start_component('sleep', ['sleep', '1000'], environment={}, log=folder / 'log').process.pid\n"
            "import psutil; (folder / 'pid').write_text(str(psutil.Process().children()[0].pid))\n"
            "time.sleep(1000)\n",
            str(tmp_path),
        ],
        cwd=ROOT,
    )
    child = pid_in(tmp_path / "pid")
    process.send_signal(signal.SIGKILL)
    process.wait()
    wait_until_gone(child)


def test_a_component_leads_its_group_and_its_output_is_in_its_log(tmp_path):
    log = tmp_path / "component.log"
    script = "import os, time; print(os.getpgid(0) == os.getpid(), os.environ['NAME'], flush=True); time.sleep(1000)"
    component = start_component("it", [sys.executable, "-c", script], environment={"NAME": "it"}, log=log)
    while not log.read_text():
        time.sleep(0.05)
    assert log.read_text() == "True it\n"
    assert not component.ended
    end_components([component], grace=5)
    assert component.ended
    assert component.process.returncode == -signal.SIGTERM
    with pytest.raises(ProcessLookupError):
        os.kill(component.process.pid, 0)


def test_a_component_that_waits_for_ever_does_not_outlive_who_started_it(tmp_path):
    component = (
        "import tools.dev.component as component\n"
        "component._GRACE_SECONDS = 0.1\n"
        "print('up', flush=True)\n"
        "component.end_with_starter()\n"
    )
    starter = (
        "import sys, time\n"
        "from pathlib import Path\n"
        "from tools.dev.processes import start_component\n"
        "log = Path(sys.argv[1])\n"
        "child = start_component('it', [sys.executable, '-c', 'import signal; signal.signal(signal.SIGTERM,"
        f" signal.SIG_IGN)\\n' + {component!r}], environment={{}}, log=log)\n"
        "while not log.read_text():\n"
        "    time.sleep(0.05)\n"
        "print(child.process.pid, child.ended)\n"
    )
    command = [sys.executable, "-c", starter, str(tmp_path / "log")]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
    pid, ended = done.stdout.split()
    assert ended == "False", "it lives as long as its starter"
    wait_until_gone(int(pid))


def test_a_component_whose_starter_is_gone_already_ends(tmp_path):
    component = (
        "import tools.dev.component as component\ncomponent._GRACE_SECONDS = 0.1\ncomponent.end_with_starter()\n"
    )
    nobody = {**os.environ, "SOP_DEV_STARTER": "0"}
    process = subprocess.Popen([sys.executable, "-c", component], cwd=ROOT, env=nobody, start_new_session=True)
    assert process.wait() == -signal.SIGKILL


def test_orphans_that_end_meanwhile_are_collected() -> None:
    """Whoever in the command waits for one to be gone is told so."""
    script = (
        "import os, subprocess, sys, time\n"
        "import psutil\n"
        "shell = subprocess.run(['sh', '-c', 'sleep 0.2 & echo $!'], stdout=subprocess.PIPE, check=True)\n"
        "try: psutil.Process(int(shell.stdout)).wait(60)\n"
        "except psutil.NoSuchProcess: pass\n"
        "sys.exit(7)\n"
    )
    # in a process of its own, as a subreaper collects whatever ends
    outer = (
        "import sys\n"
        "from tools.dev.processes import become_subreaper, run_and_reap\n"
        "become_subreaper()\n"
        f"sys.exit(run_and_reap([sys.executable, '-c', {script!r}]))\n"
    )
    done = subprocess.run([sys.executable, "-c", outer], cwd=ROOT, check=False, timeout=300)
    assert done.returncode == 7
