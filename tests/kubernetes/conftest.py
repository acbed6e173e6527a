"""A real cluster: the one of KUBECONFIG, else the one `make cluster` has brought up on this machine."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import time
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from airflow_sop_provider.airflow_settings import SopSettings, read_settings
from airflow_sop_provider.contract import Assignment, AttemptKey, StepPayload
from airflow_sop_provider.engine.attempts import attempt_spec
from airflow_sop_provider.operators.pod_attempt import pod_manifest
from airflow_sop_provider.runtimes import AttemptSpec
from airflow_sop_provider.runtimes.kube_api import Connect
from airflow_sop_provider.runtimes.kubernetes import KubernetesRuntime, connect_by_environment
from tests.integration.airflow_system import SOPS, AirflowSystem
from tests.integration.conftest import bundles
from tests.kubernetes.pod_recorder import recorded
from tests.runtimes.recording import RECORD
from tools.cluster.clients import kubectl as kubectl_command
from tools.cluster.layout import Layout
from tools.cluster.runner_image import runner_tag
from tools.dev.environment import ROOT

KEPT_SECONDS = 40
"""For how long `airflow` keeps the pod of a failed attempt; longer than what `test_failures` has come after it."""
NOT_THERE = "there is no cluster: run `make cluster` first, or set KUBECONFIG to one of your own"


class Kubectl:
    """kubectl as the cluster's administrator, in one namespace."""

    def __init__(self, program: str, namespace: str) -> None:
        self._program, self.namespace = program, namespace

    def __call__(self, *arguments: str, stdin: str | None = None, check: bool = True) -> str:
        command = [self._program, "--namespace", self.namespace, *arguments]
        done = subprocess.run(command, input=stdin, capture_output=True, text=True, check=False)
        assert done.returncode == 0 or not check, f"kubectl {' '.join(arguments)}: {done.stderr}"
        return done.stdout

    def json(self, *arguments: str) -> Any:
        """Return what is printed with ``-o json``."""
        return json.loads(self(*arguments, "-o", "json"))

    def apply(self, **document: Any) -> None:
        """Create or change an object."""
        self("apply", "-f", "-", stdin=json.dumps(document))

    def create_namespace(self) -> None:
        """Make the namespace and wait for its service account, without which it takes no pod.

        A controller makes the account; in the half minute after an API server was killed that is not at once.
        """
        self("create", "namespace", self.namespace)
        limit = time.monotonic() + 120
        while not self("get", "serviceaccount", "default", "-o", "name", "--ignore-not-found"):
            assert time.monotonic() < limit, f"namespace {self.namespace} has no service account after two minutes"
            time.sleep(0.1)

    def left(self) -> list[str]:
        """Return what is there of attempts: pods and Secrets."""
        found = self("get", "pods,secrets", "-l", "app.kubernetes.io/managed-by=airflow-sop-provider", "-o", "name")
        return found.split()


@pytest.fixture(scope="session")
def kubeconfig() -> str:
    """The cluster's kubeconfig, also as KUBECONFIG for everything in this process."""
    path = os.environ.get("KUBECONFIG") or str(Layout.default().kubeconfig)
    assert Path(path.split(os.pathsep)[0]).exists(), NOT_THERE
    os.environ["KUBECONFIG"] = path
    return path


@pytest.fixture(scope="session")
def program(kubeconfig: str) -> str:
    """A kubectl that fits the cluster."""
    return os.environ.get("SOP_KUBECTL") or kubectl_command(Layout.default())[0]


@pytest.fixture
def kubectl(program: str) -> Iterator[Kubectl]:
    """A namespace of the test's own, with nothing in it; deleted afterwards."""
    kubectl = Kubectl(program, f"sop-test-{uuid.uuid4().hex[:8]}")
    kubectl.create_namespace()
    yield kubectl
    kubectl("delete", "namespace", kubectl.namespace, "--wait=false", check=False)


@pytest.fixture
def recorder(request: pytest.FixtureRequest, kubectl: Kubectl, kubeconfig: str) -> Iterator[None]:
    """With SOP_RECORD_PODS=folder a recording of the test's pods is written there, to be replayed without a cluster."""
    folder = os.environ.get(RECORD)
    if not folder:
        yield
        return
    name = re.sub(r"[^a-z0-9]+", "_", request.node.name.lower()).strip("_")
    with pytest.MonkeyPatch.context() as patch:
        target = Path(folder) / f"{name}.jsonl"
        with recorded(target, kubeconfig, kubectl.namespace, patch):
            yield


@pytest.fixture(scope="session")
def cluster(program: str) -> Iterator[Kubectl]:
    """The namespace of `airflow`'s steps."""
    kubectl = Kubectl(program, f"sop-airflow-{uuid.uuid4().hex[:8]}")
    kubectl.create_namespace()
    yield kubectl
    kubectl("delete", "namespace", kubectl.namespace, "--wait=false", check=False)


@pytest.fixture(scope="session")
def airflow(cluster: Kubectl, tmp_path_factory: pytest.TempPathFactory) -> Iterator[AirflowSystem]:
    """A running Airflow whose steps are pods."""
    folder = tmp_path_factory.mktemp("airflow-kubernetes")
    sops = folder / "sops"
    shutil.copytree(SOPS, sops)
    shutil.copytree(Path(__file__).parent / "sops", sops, dirs_exist_ok=True)
    # a quarter of a core for each of its steps is right for a cluster, and minutes on a machine for development
    sample = (ROOT / "sops" / "software-licence-review.yaml").read_text()
    assert "cpu: 250m" in sample
    (sops / "software-licence-review.yaml").write_text(sample.replace("cpu: 250m", "cpu: 900m"))
    options = bundles(sops)
    options["core"]["parallelism"] = "64"
    options["sop"] = {
        "runtime": "kubernetes", "namespace": cluster.namespace,
        "image": os.environ.get("SOP_RUNNER_IMAGE") or runner_tag(),
        "paused_upon_creation": "False", "refresh_seconds": "2", "keep_failed_seconds": str(KEPT_SECONDS),
    }  # fmt: skip
    system = AirflowSystem(folder / "home", sops=sops, overrides=options)
    try:
        system.start()
        yield system
    finally:
        system.stop()


@pytest.fixture
async def runtime(kubectl: Kubectl, recorder: None) -> AsyncIterator[KubernetesRuntime]:
    runtime = KubernetesRuntime(connect_by_environment(), namespace=kubectl.namespace)
    yield runtime
    await runtime.close()


@pytest.fixture
def settings(kubectl: Kubectl) -> SopSettings:
    """The engine's settings, with the image that `make cluster` has given the node."""
    image = os.environ.get("SOP_RUNNER_IMAGE") or runner_tag()
    return replace(read_settings(), namespace=kubectl.namespace, image=image)


@pytest.fixture
def attempt(settings: SopSettings) -> Callable[..., AttemptSpec]:
    """Makes an attempt of one step, as the executor makes it."""

    def make(step: dict[str, Any], *, image: str = "", engine_url: str | None = None, **payload: Any) -> AttemptSpec:
        values = {"kind": "step", "sop": "test", "version": "1", "digest": "d", "step": {"id": "a", **step}}
        key = AttemptKey(sop="test", run_id="r", step="a", attempt=1, task_instance_id=uuid.uuid4().hex)
        assignment = Assignment(key=key, payload=StepPayload.model_validate({**values, **payload}))
        chosen = replace(settings, image=image or settings.image, engine_url=engine_url)
        return replace(attempt_spec(assignment, chosen), pod=pod_manifest(assignment, chosen))

    return make


def connect_with(token: str, kubeconfig: str) -> Connect:
    """Return what connects as the owner of a token, to the cluster of a kubeconfig."""

    async def connect() -> Any:
        from kubernetes_asyncio import client, config

        configuration = client.Configuration()
        await config.load_kube_config(config_file=kubeconfig, client_configuration=configuration)
        configuration.cert_file = configuration.key_file = None
        configuration.api_key = {"BearerToken": f"Bearer {token}"}
        return client.ApiClient(configuration)

    return connect
