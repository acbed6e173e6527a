"""Runs an `airflow` command with a calmer garbage collector.

Starting a component makes some hundred thousand objects that stay; with Python's default threshold
the collector walks them again and again, which is a third of the API server's start.

And it sees to it that the component does not outlive whoever started it: the kernel's signal asks it to
end, but a scheduler that is asked in the wrong moment waits for its workers for ever.
"""

from __future__ import annotations

import gc
import os
import runpy
import signal
import threading
import time

__all__ = ["STARTER_VARIABLE", "end_with_starter"]

STARTER_VARIABLE = "SOP_DEV_STARTER"
"""Holds the pid of who started the component; it may have ended before the component can ask for its parent."""

_THRESHOLDS = (50_000, 20, 50)
_GRACE_SECONDS = 30.0
"""What it gets to end by itself."""


def end_with_starter() -> None:
    """Wait until the parent is no longer the one that `STARTER_VARIABLE` names, then end our process group."""
    starter = int(os.environ[STARTER_VARIABLE])
    while os.getppid() == starter:
        time.sleep(1.0)
    time.sleep(_GRACE_SECONDS)
    os.killpg(0, signal.SIGKILL)


if __name__ == "__main__":
    if os.getpgid(0) == os.getpid():  # the group is the component's own
        threading.Thread(target=end_with_starter, daemon=True).start()
    gc.set_threshold(*_THRESHOLDS)
    # as `python -m airflow` does it; the function is not annotated
    runpy.run_module("airflow", run_name="__main__")
