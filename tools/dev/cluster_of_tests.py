"""The cluster that `make test` tests on: that of KUBECONFIG, the one of `make cluster`, else one for the time."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from tools.cluster.daemons import Daemons
from tools.cluster.layout import Layout
from tools.dev.processes import run_and_reap

__all__ = ["WANTED", "cluster_for_tests", "is_wanted"]

WANTED = "SOP_TEST_CLUSTER"
"""Variable that adds the tests on a cluster and on a container engine if it is ``yes``."""
_API_SERVER = "kube-apiserver"


def is_wanted() -> bool:
    """Return whether whoever runs the tests wants those on a cluster and a container engine."""
    return os.environ.get(WANTED, "").lower() == "yes"


@contextmanager
def cluster_for_tests() -> Iterator[bool]:
    """Have a cluster run meanwhile; yield whether there is one.

    What was up before stays up.
    """
    ours = not os.environ.get("KUBECONFIG") and Daemons(Layout.default()).process(_API_SERVER) is None
    # also where one is up: it may lack the image of this very checkout
    up = run_and_reap([sys.executable, "-m", "tools.cluster", "up"]) == 0
    try:
        yield up
    finally:
        if ours:
            run_and_reap([sys.executable, "-m", "tools.cluster", "down"])
