"""`make cluster`, `make cluster-down`, `make image`: a real Kubernetes on this machine."""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from tools.cluster import control_plane, images, network, network_policies, node, simulation
from tools.cluster.binaries import build, version
from tools.cluster.certificates import make_certificates
from tools.cluster.clients import kubectl
from tools.cluster.daemons import Daemons
from tools.cluster.image_start import first_action_seconds
from tools.cluster.layout import Layout
from tools.cluster.problems import ClusterProblem
from tools.cluster.runner_image import agents_tag, build_runner_image, image_layers, runner_config, runner_tag

__all__ = ["main"]

T = TypeVar("T")

_EXAMPLES = """\
examples:
  python -m tools.cluster up              a node, ready, with the runner's image
  python -m tools.cluster up --no-image   the same without building that image
  python -m tools.cluster kubectl get pods -A
  python -m tools.cluster down            end it; --wipe also forgets its state
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; return the exit code."""
    options = _parse(arguments)
    layout = Layout.default()
    try:
        return int(options.run(layout, options) or 0)
    except ClusterProblem as problem:
        print(f"cluster: {problem}", file=sys.stderr)
        return 1


def _up(layout: Layout, options: argparse.Namespace) -> None:
    if os.environ.get("KUBECONFIG"):
        print(f"Using the cluster of KUBECONFIG ({os.environ['KUBECONFIG']}); nothing is started.")
        return
    if os.geteuid() != 0:
        raise ClusterProblem("a node needs root: run as root, or set KUBECONFIG to a cluster of your own.")
    began = time.monotonic()
    layout.make()
    programs = _step("Building Kubernetes " + version() + " (a quarter of an hour the first time)", build, layout.cache)
    client = Path(_step("Fetching kubectl", kubectl, layout)[0])
    daemons = Daemons(layout)
    make_certificates(layout)
    network.up(layout)
    _step("Starting containerd", node.start_containerd, layout, daemons)
    images.import_pause(layout, programs)
    _step("Starting the control plane", control_plane.start, layout, programs, daemons)
    _step("Starting the node", node.start_kubelet, layout, programs, daemons)
    if not options.no_image:
        _step("Building the runner's image", images.import_runner, layout)
    print(f"Kubernetes {version()} is up after {time.monotonic() - began:.0f} s. Use it:")
    print(f"  export KUBECONFIG={layout.kubeconfig} PATH={client.parent}:$PATH")


def _simulate(layout: Layout, options: argparse.Namespace) -> None:
    network_policies.stop(Daemons(layout))  # it would write rules for every simulated pod
    _step("Starting simulated nodes (building kwok takes minutes the first time)", simulation.start, layout,
          Daemons(layout), options.nodes)  # fmt: skip
    print(f"{options.nodes} simulated nodes take pods that select {simulation.NODE_LABEL} and tolerate their taint.")


def _enforce(layout: Layout, options: argparse.Namespace) -> None:
    what = "Starting to enforce NetworkPolicies (building kube-router takes minutes the first time)"
    _step(what, network_policies.start, layout, Daemons(layout))


def _down(layout: Layout, options: argparse.Namespace) -> None:
    daemons = Daemons(layout)
    simulation.stop(layout, daemons)
    network_policies.stop(daemons)
    daemons.stop("kubelet")
    if daemons.process("containerd") is not None:
        node.stop_containers(layout)
    for name in (*control_plane.CONTROL_PLANE, *node.NODE):
        daemons.stop(name)
    node.unmount(layout)
    network.down(layout)
    if options.wipe:
        shutil.rmtree(layout.home, ignore_errors=True)
    print("The cluster is down.")


def _image(layout: Layout, options: argparse.Namespace) -> None:
    cache, tag = layout.cache / "images", agents_tag() if options.agents else runner_tag()
    archive = build_runner_image(cache, agents=options.agents)
    print(f"{tag}: {archive} ({archive.stat().st_size / 1e6:.0f} MB)")
    if os.geteuid() == 0:
        seconds = first_action_seconds(image_layers(cache, agents=options.agents), runner_config(), cache)
        print(f"Start of its process to its first action: {seconds:.2f} s, the quickest of three.")
    if Daemons(layout).process("containerd") is not None:
        images.import_runner(layout, agents=options.agents)
        print("The cluster's node has it.")


def _kubectl(layout: Layout, options: argparse.Namespace) -> int:
    program, *config = kubectl(layout)
    chosen = [] if os.environ.get("KUBECONFIG") else config
    return subprocess.run([program, *chosen, *options.arguments], check=False).returncode


def _step(what: str, work: Callable[..., T], *arguments: object) -> T:
    print(f"{what} ...", end=" ", flush=True)
    began = time.monotonic()
    result = work(*arguments)
    print(f"{time.monotonic() - began:.0f} s", flush=True)
    return result


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tools.cluster",
        description="A real Kubernetes on this machine.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    up = commands.add_parser("up", help="bring it up; what runs already stays")
    up.add_argument("--no-image", action="store_true", help="do not build the runner's image")
    up.set_defaults(run=_up)
    simulate = commands.add_parser("simulate", help="add simulated nodes, for questions of scale")
    simulate.add_argument("--nodes", type=int, default=20, help="how many; each takes 500 pods (default: 20)")
    simulate.set_defaults(run=_simulate)
    enforce = commands.add_parser("enforce", help="enforce NetworkPolicies from now on; not for questions of scale")
    enforce.set_defaults(run=_enforce)
    down = commands.add_parser("down", help="end everything that `up` started")
    down.add_argument("--wipe", action="store_true", help="forget its state, too; programs and base images are kept")
    down.set_defaults(run=_down)
    image = commands.add_parser("image", help="build the runner's image as an archive for containerd, podman, Docker")
    image.add_argument("--agents", action="store_true", help="the larger one, whose steps may be agents")
    image.set_defaults(run=_image)
    client = commands.add_parser("kubectl", help="kubectl as its administrator")
    client.set_defaults(run=_kubectl)
    given = list(sys.argv[1:] if arguments is None else arguments)
    # what follows is kubectl's, options as well; argparse would take one that comes first for its own
    own = given[: given.index("kubectl") + 1] if "kubectl" in given else given
    options = parser.parse_args(own)
    options.arguments = given[len(own) :]
    return options


if __name__ == "__main__":
    raise SystemExit(main())
