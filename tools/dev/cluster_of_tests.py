"""The cluster that `make test` tests on: that of KUBECONFIG, the one of `make cluster`, else one for the time."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from tools.cluster.daemons import Daemons
from tools.cluster.layout import Layout
from tools.dev.processes import run_and_reap

__all__ = ["WANTED", "cluster_for_tests", "is_wanted"]

WANTED = "SOP_TEST_CLUSTER"
"""Variable that says whether the tests on a cluster and on a container engine run: ``yes`` or ``no``."""
_API_SERVER = "kube-apiserver"


def is_wanted() -> bool:
    """Return whether the tests on a cluster and a container engine are to run.

    By default where they can: with a cluster of KUBECONFIG, or as root with Go to build one.
    """
    wanted = os.environ.get(WANTED, "").lower()
    if wanted in ("yes", "no"):
        return wanted == "yes"
    return bool(os.environ.get("KUBECONFIG")) or (os.geteuid() == 0 and shutil.which("go") is not None)


@contextmanager
def cluster_for_tests() -> Iterator[bool]:
    """Have a cluster run meanwhile; yield whether there is one.

    What was up before stays up.
    """
    ours = not os.environ.get("KUBECONFIG") and Daemons(Layout.default()).process(_API_SERVER) is None
    run_and_reap([sys.executable, "-m", "tools.dev.debian", "cluster"])
    # also where one is up: it may lack the image of this very checkout
    up = run_and_reap([sys.executable, "-m", "tools.cluster", "up"]) == 0
    try:
        yield up
    finally:
        if ours:
            run_and_reap([sys.executable, "-m", "tools.cluster", "down"])
