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

__all__: list[str] = []

_THRESHOLDS = (50_000, 20, 50)
_GRACE_SECONDS = 30.0
"""What it gets to end by itself."""


def _end_with_parent(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(1.0)
    time.sleep(_GRACE_SECONDS)
    os.killpg(0, signal.SIGKILL)


if __name__ == "__main__":
    if os.getpgid(0) == os.getpid():  # the group is the component's own
        threading.Thread(target=_end_with_parent, args=(os.getppid(),), daemon=True).start()
    gc.set_threshold(*_THRESHOLDS)
    # as `python -m airflow` does it; the function is not annotated
    runpy.run_module("airflow", run_name="__main__")
