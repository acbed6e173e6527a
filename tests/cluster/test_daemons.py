"""Components in the background: which one still runs."""

from __future__ import annotations

import json
import socket
import sys
from pathlib import Path

import pytest

from tools.cluster.daemons import Daemons, wait_until
from tools.cluster.layout import Layout
from tools.cluster.problems import ClusterProblem

# its first thread ends at once; another one holds the port for a second
_FIRST_THREAD_ENDS = """
import ctypes, socket, sys, threading, time
listening = socket.create_server(("127.0.0.1", int(sys.argv[1])))
threading.Thread(target=time.sleep, args=(float(sys.argv[2]),)).start()
ctypes.CDLL(None).pthread_exit(None)
"""


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    layout = Layout(home=tmp_path / "home", cache=tmp_path / "cache")
    layout.make()
    return layout


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
    return port


def _is_taken(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


def test_a_zombie_with_a_living_thread_still_runs(layout: Layout) -> None:
    daemons, port = Daemons(layout), _free_port()
    daemons.start("late", [sys.executable, "-c", _FIRST_THREAD_ENDS, str(port), "1.5"])
    process = daemons.process("late")
    assert process is not None
    wait_until(lambda: process.status() == "zombie", "the end of the first thread", seconds=20)
    assert _is_taken(port)
    assert daemons.process("late") is not None
    wait_until(lambda: daemons.process("late") is None, "the end of the last thread", seconds=20)
    assert not _is_taken(port)


def test_a_component_that_runs_is_not_started_again(layout: Layout) -> None:
    daemons = Daemons(layout)
    daemons.start("sleeper", ["sleep", "60"])
    first = daemons.process("sleeper")
    daemons.start("sleeper", ["sleep", "60"])
    assert first is not None
    assert daemons.process("sleeper") == first
    daemons.stop("sleeper")
    assert not first.is_running()
    assert daemons.process("sleeper") is None


def test_a_stranger_with_its_pid_is_not_taken_for_it(layout: Layout) -> None:
    daemons = Daemons(layout)
    daemons.start("sleeper", ["sleep", "60"])
    remembered = layout.home / "run" / "sleeper.json"
    identity = json.loads(remembered.read_text())
    remembered.write_text(json.dumps({**identity, "created": identity["created"] - 100}))
    assert daemons.process("sleeper") is None
    remembered.write_text(json.dumps(identity))
    daemons.stop("sleeper")


def test_the_last_words_of_one_that_ended_are_its_problem(layout: Layout) -> None:
    daemons = Daemons(layout)
    daemons.start("speaker", ["sh", "-c", "echo address already in use; exit 3"])
    wait_until(lambda: daemons.process("speaker") is None, "its end", seconds=20)
    with pytest.raises(ClusterProblem, match="speaker has ended: address already in use"):
        daemons.check("speaker")
