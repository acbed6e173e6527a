"""Simulated nodes: what they make of pods, and how their output is followed."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
import yaml
from aiohttp.test_utils import TestClient, TestServer

from airflow_sop_provider.contract import Verdict
from tools.cluster import simulation
from tools.cluster.daemons import Daemons
from tools.cluster.layout import Layout
from tools.cluster.problems import ClusterProblem
from tools.cluster.simulated_logs import Pods, application

STAGES = [*yaml.safe_load_all(Path(simulation.__file__).with_name("kwok").joinpath("stages.yaml").read_text())]


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    layout = Layout(home=tmp_path / "home", cache=tmp_path / "cache")
    layout.make()
    return layout


def stage(name: str) -> str:
    [found] = [one for one in STAGES if one["metadata"]["name"] == name]
    return str(found["spec"]["next"]["statusTemplate"])


def test_a_simulated_pod_ends_with_a_verdict_that_our_runtime_reads() -> None:
    [line] = [line for line in stage("pod-succeeds").splitlines() if "message:" in line]
    verdict = Verdict.model_validate_json(yaml.safe_load(line.strip())["message"])
    assert (verdict.status, verdict.outputs) == ("succeeded", {})


def test_the_nodes_kubelet_is_the_process_that_serves_output() -> None:
    assert f"Port: {simulation.LOG_PORT}" in stage("node-initialize")


class Started(Daemons):
    """Notes what would be started."""

    def __init__(self, layout: Layout) -> None:
        super().__init__(layout)
        self.commands: list[tuple[str, ...]] = []

    def start(self, name: str, command: Any, **options: Any) -> None:
        self.commands.append((name, *command))

    def stop(self, name: str, *, grace: float = 0) -> None:
        self.commands.append(("stop", name))


def test_held_pods_are_let_go_by_leaving_one_rule_out(layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(simulation, "build_module", lambda *_, **__: Path("/programs"))
    daemons = Started(layout)
    config = layout.config("stages.yaml")
    simulation.hold(layout, daemons, held=True)
    held = [*yaml.safe_load_all(config.read_text())]
    simulation.hold(layout, daemons, held=False)
    free = [*yaml.safe_load_all(config.read_text())]

    def rules(stages: list[dict[str, Any]]) -> int:
        return sum(len(one["spec"]["selector"]["matchExpressions"]) for one in stages)

    assert rules(held) == rules(free) + 1
    assert [command[0] for command in daemons.commands] == ["stop", "kwok", "stop", "kwok"]
    assert f"--config={config}" in daemons.commands[1]


def test_without_a_cluster_there_is_nothing_to_simulate(layout: Layout) -> None:
    with pytest.raises(ClusterProblem, match="make cluster"):
        simulation.start(layout, Daemons(layout), 1)


def event(kind: str, phase: str) -> tuple[str, dict[str, Any]]:
    return kind, {"metadata": {"namespace": "n", "name": "p"}, "status": {"phase": phase}}


@pytest.mark.parametrize(
    "end", [event("MODIFIED", "Succeeded"), event("MODIFIED", "Failed"), event("DELETED", "Running")]
)
async def test_who_follows_a_pod_gets_a_line_and_the_end_when_the_pod_ends(end: tuple[str, dict[str, Any]]) -> None:
    pods = Pods()
    pods.note(*event("ADDED", "Pending"))
    pods.note(*event("MODIFIED", "Running"))
    async with TestClient(TestServer(application(pods))) as client:
        answer = await client.get("/containerLogs/n/p/base", params={"follow": "true", "timestamps": "true"})
        stamp, _, line = (await answer.content.readline()).partition(b" ")
        assert line == b"a simulated step runs\n"
        assert stamp.endswith(b"Z")
        rest = asyncio.ensure_future(answer.content.readline())
        await asyncio.sleep(0.05)
        assert not rest.done()
        pods.note(*end)
        assert await rest == b""


async def test_output_of_a_pod_that_is_over_ends_at_once() -> None:
    async with TestClient(TestServer(application(Pods()))) as client:
        answer = await client.get("/containerLogs/n/p/base", params={"follow": "true"})
        assert await answer.text() == "a simulated step runs\n"
