"""Feature: execution-engine, Property 16: Isolation

No container reads another's memory, files or connections: nothing that two containers are created with is shared, and
none is given the host's. On the real thing, where one container looks for what another has:
tests/kubernetes/test_trouble.py (two containers share neither memory nor files nor connections).
"""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from airflow_sop_provider.contract import Assignment
from airflow_sop_provider.runtimes.docker_container import config_of
from airflow_sop_provider.runtimes.kubernetes import KubernetesRuntime
from tests.properties.pods import assignments, spec_of, steps_settings
from tests.runtimes.fake_kubernetes import FakeKubernetes

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

_HOSTS = ("hostNetwork", "hostPID", "hostIPC", "shareProcessNamespace", "hostUsers", "hostAliases")


@settings(max_examples=100, deadline=None)
@given(st.lists(assignments(), min_size=2, max_size=2), st.booleans())
async def test_no_two_pods_share_anything_but_the_node(drawn: list[Assignment], engine: bool) -> None:
    """Feature: execution-engine, Property 16: Isolation."""
    specs = [spec_of(one, steps_settings(engine)) for one in drawn]
    assume(len({spec.name for spec in specs}) == len(specs))
    async with FakeKubernetes() as cluster:
        runtime = KubernetesRuntime(cluster.connect, namespace="steps")
        try:
            for spec in specs:
                await runtime.start(spec)
        finally:
            await runtime.close()
    assert len(cluster.pods) == len(specs)
    for name, pod in cluster.pods.items():
        spec = pod["spec"]
        assert not any(spec.get(field) for field in _HOSTS)
        assert spec["automountServiceAccountToken"] is False
        for volume in spec["volumes"]:
            assert _is_its_own(volume, name), volume
        for container in (*spec["containers"], *spec.get("initContainers", ())):
            _has_no_way_out(container["securityContext"])
            assert not any("hostPort" in port for port in container.get("ports") or ())
            assert not container.get("volumeDevices")


def _is_its_own(volume: dict[str, Any], pod: str) -> bool:
    """Whether a volume ends with its pod and holds nothing of another."""
    ((kind, source),) = [(kind, source) for kind, source in volume.items() if kind != "name"]
    match kind:
        case "emptyDir":
            return True
        case "secret":
            return bool(source["secretName"] == pod and source["defaultMode"] == 0o440)
        case "projected":  # a token that names this pod
            return all(set(one) == {"serviceAccountToken"} for one in source["sources"])
    return False


def _has_no_way_out(context: dict[str, Any]) -> None:
    assert context["privileged"] is context["allowPrivilegeEscalation"] is False
    assert context["runAsNonRoot"] is context["readOnlyRootFilesystem"] is True
    assert context["capabilities"] == {"drop": ["ALL"]}


@settings(max_examples=100, deadline=None)
@given(assignments(), st.sampled_from(["bridge", "steps"]))
def test_a_docker_container_is_given_nothing_of_the_host_or_of_another(assignment: Assignment, network: str) -> None:
    """Feature: execution-engine, Property 16: Isolation."""
    spec = spec_of(assignment, steps_settings())
    config = config_of(spec, image="runner:1", network=network, runner_volume="sop-runner")
    host = config["HostConfig"]
    assert config["Volumes"] == {"/run/sop": {}}, "anonymous, so nobody else's"
    binds = host.get("Binds", [])
    assert binds == (["sop-runner:/run/sop-runner:ro"] if spec.image else []), "the runner's copy, which none may write"
    assert host["NetworkMode"] == network
    assert host.keys() & {"PidMode", "IpcMode", "UsernsMode", "Privileged", "Devices", "VolumesFrom", "Mounts"} == set()
    assert (host["CapDrop"], host["ReadonlyRootfs"]) == (["ALL"], True)
    assert host["SecurityOpt"] == ["no-new-privileges"]
