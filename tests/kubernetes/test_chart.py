"""The chart on a real cluster: it installs, its rights are enough and no more, and an upgrade interrupts nothing."""

from __future__ import annotations

import asyncio
import json
import subprocess
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from airflow_sop_provider.airflow_settings import SopSettings, read_settings
from airflow_sop_provider.contract import Assignment, AttemptKey, StepPayload
from airflow_sop_provider.engine.attempts import attempt_spec
from airflow_sop_provider.engine.failures import classify
from airflow_sop_provider.operators.pod_attempt import pod_manifest
from airflow_sop_provider.runtimes import AttemptSpec
from airflow_sop_provider.runtimes.kubernetes import KubernetesRuntime
from tests.helm.conftest import CHART, helm
from tests.kubernetes.conftest import Kubectl, connect_with
from tests.kubernetes.test_runtime import finish
from tests.runtimes.steps import shell
from tools.cluster.runner_image import runner_tag

__all__ = ["helm"]

pytestmark = [pytest.mark.kubernetes, pytest.mark.timeout(600)]


@dataclass
class Release:
    """The chart, installed: Airflow's namespace and the runners'."""

    airflow: Kubectl
    runners: Kubectl
    prefix: str
    upgrade: Callable[..., str]


@pytest.fixture
def release(helm: Path, program: str, kubeconfig: str, tmp_path: Path) -> Iterator[Release]:
    name = f"sop-{uuid.uuid4().hex[:6]}"
    airflow, runners = Kubectl(program, f"{name}-airflow"), Kubectl(program, f"{name}-runners")
    repository, _, tag = runner_tag().rpartition(":")
    values = tmp_path / "values.json"
    values.write_text(
        json.dumps(
            {
                "runners": {"namespace": runners.namespace, "image": {"repository": repository, "tag": tag}},
                "priorityClasses": {"prefix": name},
            }
        )
    )

    def upgrade(*options: str) -> str:
        command = [str(helm), "upgrade", "--install", name, str(CHART), "--namespace", airflow.namespace]
        done = subprocess.run(
            [*command, "--kubeconfig", kubeconfig, "--values", str(values), *options],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    airflow.create_namespace()
    try:
        yield Release(airflow, runners, name, upgrade)
    finally:
        command = [str(helm), "uninstall", name, "--namespace", airflow.namespace, "--kubeconfig", kubeconfig]
        subprocess.run(command, capture_output=True, check=False)
        # helm keeps the runners' namespace, where somebody may want to look at what ran
        airflow("delete", "namespace", airflow.namespace, runners.namespace, "--wait=false", check=False)


def settings_of(release: Release, folder: Path) -> SopSettings:
    """The engine's settings as the chart's notes tell them."""
    maps = release.airflow.json("get", "configmaps", "-l", "app.kubernetes.io/name=sop-engine")["items"]
    [template] = [text for one in maps for key, text in one["data"].items() if "pod" in key]
    file = folder / "pod.yaml"
    file.write_text(template)
    return replace(
        read_settings(),
        namespace=release.runners.namespace,
        image=runner_tag(),
        pod_template_file=str(file),
        priority_class_prefix=release.prefix,
    )


def _spec(settings: SopSettings, step: str) -> AttemptSpec:
    key = AttemptKey(sop="test", run_id="r", step=step, attempt=1, task_instance_id=step)
    does = {"id": step, **shell("echo begin; sleep 30; echo end")}
    payload = StepPayload(kind="step", sop="test", version="1", digest="d", step=does, priority="critical")
    work = Assignment(key=key, payload=payload)
    return replace(attempt_spec(work, settings), pod=pod_manifest(work, settings))


def _evict(runners: Kubectl, pod: str) -> None:
    """Ask for what a drain asks for."""
    body = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": pod, "namespace": runners.namespace}}
    path = f"/api/v1/namespaces/{runners.namespace}/pods/{pod}/eviction"
    runners("create", "--raw", path, "-f", "-", stdin=json.dumps(body))


async def test_an_upgrade_interrupts_no_step_and_the_executors_account_suffices(release, kubeconfig, tmp_path):
    assert "pods" in release.upgrade("--dry-run=server"), "the API server takes it, and the notes say what is next"
    release.upgrade()
    release.airflow("create", "serviceaccount", "airflow-scheduler")
    token = release.airflow("create", "token", "airflow-scheduler").strip()
    settings = settings_of(release, tmp_path)
    runtime = KubernetesRuntime(connect_with(token, kubeconfig), namespace=release.runners.namespace)
    try:
        handles = [await runtime.start(_spec(settings, f"s{number}")) for number in range(3)]
        for handle in handles:
            async for _, line in runtime.logs(handle):
                if "begin" in line:
                    break
        changed = ("quota.hard.count/pods=7", "limitRange.default.cpu=900m", "networkPolicy.engine.port=8081")
        await asyncio.to_thread(release.upgrade, *(part for one in changed for part in ("--set", one)))
        with pytest.raises(AssertionError, match="disruption budget"):
            _evict(release.runners, handles[0].name)
        pod = release.runners.json("get", "pod", handles[0].name)
        assert pod["spec"]["priority"] == 100_000
        assert pod["spec"]["serviceAccountName"] == "sop-runner"
        assert pod["spec"]["containers"][0]["resources"]["limits"] == {"cpu": "1", "memory": "512Mi"}, (
            "the chart's range, as it was when the step began"
        )
        outcomes = await asyncio.gather(*(runtime.wait(handle) for handle in handles))
        assert [classify(outcome) for outcome in outcomes] == [None] * 3, outcomes
        for handle in handles[1:]:
            await runtime.remove(handle)
        await finish(runtime, release.runners, handles[0])
    finally:
        await runtime.close()
    allowed = release.airflow("auth", "can-i", "--list", f"--namespace={release.runners.namespace}",
                              f"--as=system:serviceaccount:{release.airflow.namespace}:airflow-scheduler")  # fmt: skip
    assert "pods/exec" not in allowed
    for asked in (("get", "secrets"), ("update", "pods"), ("create", "pods", "--subresource=exec")):
        answer = release.runners(
            "auth", "can-i", *asked,
            f"--as=system:serviceaccount:{release.airflow.namespace}:airflow-scheduler", check=False,
        )  # fmt: skip
        assert answer.strip() == "no", asked
