"""Each signal that asks a program to end lets its contexts close."""

import signal
import subprocess
import sys

import pytest

from tools.dev.environment import ROOT

PROGRAM = """
import contextlib, time
from tools.dev.signals import Stopped, raise_on_signals

raise_on_signals()
with contextlib.suppress(Stopped), contextlib.ExitStack() as stack:
    stack.callback(print, "closed")
    print("ready", flush=True)
    time.sleep(60)
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP], ids=lambda number: number.name)
def test_contexts_are_closed(number):
    process = subprocess.Popen([sys.executable, "-c", PROGRAM], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "ready\n"
    process.send_signal(number)
    assert process.communicate()[0] == "closed\n"
    assert process.returncode == 0
