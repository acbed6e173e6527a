"""What is left of the packet filter when policies are no longer enforced."""

from __future__ import annotations

from pathlib import Path

import pytest

from tools.cluster import network_policies
from tools.cluster.daemons import Daemons
from tools.cluster.layout import Layout
from tools.cluster.problems import ClusterProblem

OTHERS = """\
*filter
:FORWARD ACCEPT [0:0]
:KUBE-KUBELET-CANARY - [0:0]
-A FORWARD -s 10.244.0.0/16 -m comment --comment "sop-cluster: pods do not leave the machine" -j REJECT
COMMIT
"""
OURS = """\
:KUBE-ROUTER-FORWARD - [0:0]
:KUBE-POD-FW-3XYPOXIYAT5SBY3Y - [0:0]
:KUBE-NWPLCY-DEFAULT - [0:0]
-A FORWARD -m comment --comment "kube-router netpol - TEMC" -j KUBE-ROUTER-FORWARD
-A KUBE-POD-FW-3XYPOXIYAT5SBY3Y -m mark ! --mark 0x10000/0x10000 -j REJECT --reject-with icmp-port-unreachable
"""


def test_only_the_rules_of_policies_go() -> None:
    head, rest = OTHERS.split(":KUBE-KUBELET")
    assert network_policies.without_rules(f"{head}{OURS}:KUBE-KUBELET{rest}") == OTHERS


def test_without_a_cluster_the_remedy_is_named(tmp_path: Path) -> None:
    layout = Layout(home=tmp_path / "home", cache=tmp_path / "cache")
    layout.make()
    with pytest.raises(ClusterProblem, match="make cluster"):
        network_policies.start(layout, Daemons(layout))
