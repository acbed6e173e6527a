"""A step as a pod: what the pod gets, and what its end means."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace

import pytest
from airflow.providers.cncf.kubernetes.operators.pod import KubernetesPodOperator
from kubernetes import client as k8s_client
from kubernetes.client import models as k8s
from kubernetes_validate import validate

from airflow_sop_provider.airflow_settings import read_settings
from airflow_sop_provider.contract import Assignment, AttemptKey, StepPayload, Verdict, container_name
from airflow_sop_provider.contract.engine_access import fleet_address
from airflow_sop_provider.contract.portable import COPY_MODULE, RUNNER_FOLDER, start_command
from airflow_sop_provider.contract.verdict_lines import lines_of
from airflow_sop_provider.engine.failures import classify
from airflow_sop_provider.operators.pod_attempt import outcome_of_pod, pod_fields, pod_manifest
from airflow_sop_provider.operators.pod_image import COPY_BYTES
from airflow_sop_provider.operators.sop_step import SopStepOperator

KEY = AttemptKey(sop="s", run_id="manual__2026-01-01T00:00:00+00:00", step="a", attempt=1, task_instance_id="t")


def assignment(**values):
    step = {"id": "a", "compute": {"v": "inputs.x"}}
    payload = StepPayload(kind="step", sop="s", version="1", digest="d", step=step, inputs={"x": {}}, **values)
    return Assignment(key=KEY, payload=payload, inputs={"x": 'it\'s "quoted" $HOME\n'})


def operator(**values):
    return operator_of(assignment(**values))


def operator_of(work):
    task = SopStepOperator(task_id="a", executor_config={"sop": {}})
    for field, value in pod_fields(work, read_settings()).items():
        assert hasattr(task, field), f"KubernetesPodOperator has no {field}"
        setattr(task, field, value)
    return task


def test_it_is_a_pod_operator():
    assert issubclass(SopStepOperator, KubernetesPodOperator)


def test_the_pod_request(monkeypatch):
    monkeypatch.setenv("AIRFLOW__SOP__IMAGE", "our/runner:1")
    monkeypatch.setenv("AIRFLOW__SOP__NAMESPACE", "steps")
    cluster = SimpleNamespace(is_in_cluster=False, get_namespace=lambda: "default")
    monkeypatch.setattr(SopStepOperator, "hook", cluster)
    task = operator(memory_bytes=1000, cpu_millis=250, timeout_seconds=60.0, control="C 1")
    pod = task.build_pod_request_obj()
    (container,) = pod.spec.containers
    assert pod.metadata.name == container_name(KEY)
    assert pod.metadata.namespace == "steps"
    assert pod.metadata.labels["sop/step"] == "a"
    assert pod.metadata.labels["sop/control"] == "C-1"
    assert pod.metadata.labels["sop/execution"] == "manual__2026-01-01T00-00-00-00-00"
    assert container.image == "our/runner:1"
    assert container.resources.limits == {"cpu": "250m", "memory": "1000"}
    assert pod.spec.active_deadline_seconds == 61
    assert pod.spec.automount_service_account_token is False


def test_every_kind_of_resource_reaches_the_pod(monkeypatch):
    monkeypatch.setenv("AIRFLOW__SOP__GPU_RESOURCE", "example.com/gpu")
    pod = pod_manifest(assignment(ephemeral_storage_bytes=5, gpus=2, network_bits=1000), read_settings())
    resources = pod["spec"]["containers"][0]["resources"]
    assert resources["limits"] == {"ephemeral-storage": "5", "example.com/gpu": "2"} == resources["requests"]
    assert pod["metadata"]["annotations"] == {
        "kubernetes.io/ingress-bandwidth": "1000",
        "kubernetes.io/egress-bandwidth": "1000",
    }


@pytest.mark.parametrize(
    ("asked", "expected"),
    [(None, "ours-low"), ("critical", "ours-critical"), ("urgent", "ours-low"), (7, "ours-low")],
)
def test_the_priority_class_of_a_pod(monkeypatch, asked, expected):
    work = assignment(priority="low")
    if asked is not None:
        work = work.model_copy(update={"execution": {"priority": asked}})
    assert "priorityClassName" not in pod_manifest(work, read_settings())["spec"]
    monkeypatch.setenv("AIRFLOW__SOP__PRIORITY_CLASS_PREFIX", "ours")
    assert pod_manifest(work, read_settings())["spec"]["priorityClassName"] == expected


def test_the_pod_for_a_runtime_is_the_operators_own(monkeypatch, tmp_path):
    template = tmp_path / "pod.yaml"
    template.write_text(
        "apiVersion: v1\nkind: Pod\nmetadata: {labels: {team: audit}}\n"
        "spec: {nodeSelector: {disk: fast}, containers: [{name: base}]}\n"
    )
    monkeypatch.setenv("AIRFLOW__SOP__POD_TEMPLATE_FILE", str(template))
    monkeypatch.setenv("AIRFLOW__SOP__NAMESPACE", "steps")
    manifest = pod_manifest(assignment(memory_bytes=1000, cpu_millis=250, timeout_seconds=60.0), read_settings())
    spec = manifest["spec"]
    (container,) = spec["containers"]
    assert manifest["metadata"]["labels"]["team"] == "audit"
    assert spec["nodeSelector"] == {"disk": "fast"}
    assert container["command"] == ["python", "-m", "airflow_sop_provider.runner"]
    assert "quoted" not in str(manifest), "inputs are not in the pod's spec"
    assert container["resources"]["limits"] == {"cpu": "250m", "memory": "1000"}
    assert (spec["restartPolicy"], spec["activeDeadlineSeconds"]) == ("Never", 61)
    assert spec["automountServiceAccountToken"] is False
    assert spec["enableServiceLinks"] is False


ENGINE = "https://engine.example/sop"


def test_without_an_engine_a_pod_has_no_token_at_all():
    spec = pod_manifest(assignment(), read_settings())["spec"]
    (container,) = spec["containers"]
    assert {"projected", "secret"}.isdisjoint(key for volume in spec["volumes"] for key in volume)
    assert [mount["mountPath"] for mount in container["volumeMounts"]] == ["/tmp"]
    assert not any(one["name"].startswith("SOP_ENGINE") for one in container.get("env", ()))


def test_with_an_engine_a_pod_has_a_token_for_it_and_for_nothing_else(monkeypatch):
    monkeypatch.setenv("AIRFLOW__SOP__ENGINE_URL", ENGINE)
    pod = pod_manifest(assignment(), read_settings())
    spec, (container,) = pod["spec"], pod["spec"]["containers"]
    environment = {one["name"]: one["value"] for one in container["env"]}
    assert environment == {
        "SOP_ENGINE_URL": ENGINE,
        "SOP_ENGINE_TOKEN_FILE": "/var/run/secrets/sop-engine/token",
    }
    (volume,) = [one for one in spec["volumes"] if "projected" in one]
    assert volume["projected"]["sources"] == [
        {"serviceAccountToken": {"audience": "sop-engine", "expirationSeconds": 600, "path": "token"}}
    ], "no second source: neither the cluster's certificate nor a token for its API"
    (mount,) = [one for one in container["volumeMounts"] if one["name"] == volume["name"]]
    assert (mount["mountPath"], mount["readOnly"]) == ("/var/run/secrets/sop-engine", True)
    assert spec["automountServiceAccountToken"] is False
    validate(pod, "1.34.0", strict=True)


def test_a_gateway_of_its_own_is_named_beside_the_engine(monkeypatch):
    monkeypatch.setenv("AIRFLOW__SOP__ENGINE_URL", ENGINE)
    monkeypatch.setenv("AIRFLOW__SOP__FLEET_URL", "https://fleet.example/fleet/")
    (container,) = pod_manifest(assignment(), read_settings())["spec"]["containers"]
    environment = {one["name"]: one["value"] for one in container["env"]}
    assert fleet_address(environment) == "https://fleet.example/fleet"
    assert fleet_address({"SOP_ENGINE_URL": ENGINE}) == f"{ENGINE}/fleet"
    assert fleet_address({}) is None


def test_the_operators_own_pod_has_the_same_token(monkeypatch):
    monkeypatch.setenv("AIRFLOW__SOP__ENGINE_URL", ENGINE)
    cluster = SimpleNamespace(is_in_cluster=False, get_namespace=lambda: "default")
    monkeypatch.setattr(SopStepOperator, "hook", cluster)
    pod = operator().build_pod_request_obj()
    (container,) = pod.spec.containers
    names = [one.name for one in container.env]
    assert {"SOP_ENGINE_URL", "SOP_ENGINE_TOKEN_FILE", "SOP_ASSIGNMENT_JSON"} <= set(names)
    (projected,) = [one.projected for one in pod.spec.volumes if one.projected]
    assert projected.sources[0].service_account_token.audience == "sop-engine"
    assert pod.spec.automount_service_account_token is False


TOOL = {"id": "a", "command": {"image": "tool:1", "command": ["run"]}}


def in_image(**values):
    payload = StepPayload(kind="step", sop="s", version="1", digest="d", step=TOOL, inputs={"x": {}}, **values)
    return Assignment(key=KEY, payload=payload, inputs={"x": "a value"})


def test_a_step_with_an_image_runs_in_it_under_the_contract_of_every_step(monkeypatch):
    monkeypatch.setenv("AIRFLOW__SOP__IMAGE", "our/runner:1")
    monkeypatch.setenv("AIRFLOW__SOP__ENGINE_URL", ENGINE)
    limits = {"memory_bytes": 1000, "cpu_millis": 250, "ephemeral_storage_bytes": 5, "timeout_seconds": 60.0}
    pod, plain = (pod_manifest(one(**limits), read_settings()) for one in (in_image, assignment))
    validate(pod, "1.34.0", strict=True)
    spec = pod["spec"]
    (container,), (copying,), (usual,) = spec["containers"], spec["initContainers"], plain["spec"]["containers"]
    assert (container["name"], container["image"], container["command"]) == ("base", "tool:1", start_command())
    assert copying["image"] == "our/runner:1"
    assert copying["command"] == ["python", "-m", COPY_MODULE, RUNNER_FOLDER]
    assert "env" not in copying
    assert copying["securityContext"] == container["securityContext"] == usual["securityContext"]
    assert copying["resources"] == container["resources"], "a quota may ask for limits of every container"
    assert container["resources"]["limits"] == {
        **usual["resources"]["limits"], "ephemeral-storage": str(5 + COPY_BYTES)
    }  # fmt: skip
    assert container["env"] == usual["env"]
    mounts = {one["mountPath"]: one for one in container["volumeMounts"]}
    assert mounts[RUNNER_FOLDER]["readOnly"] is True
    assert [one["mountPath"] for one in copying["volumeMounts"]] == [RUNNER_FOLDER], "no token, no files"
    for field in ("securityContext", "activeDeadlineSeconds", "automountServiceAccountToken", "restartPolicy"):
        assert spec[field] == plain["spec"][field]
    assert not plain["spec"].get("initContainers")


def test_what_the_sites_template_gives_the_runner_as_environment_is_not_given_to_a_steps_image(monkeypatch, tmp_path):
    template = tmp_path / "pod.yaml"
    template.write_text(
        "apiVersion: v1\nkind: Pod\nspec:\n  nodeSelector: {disk: fast}\n  containers:\n"
        "  - {name: base, imagePullPolicy: Always, env: [{name: FLEET_PASSWORD, value: hunter2}],\n"
        "     envFrom: [{secretRef: {name: fleet}}]}\n"
    )
    monkeypatch.setenv("AIRFLOW__SOP__POD_TEMPLATE_FILE", str(template))
    assert "hunter2" in str(pod_manifest(assignment(), read_settings()))
    pod = pod_manifest(in_image(), read_settings())
    (container,) = pod["spec"]["containers"]
    assert "hunter2" not in str(pod)
    assert "envFrom" not in container
    assert (container["imagePullPolicy"], pod["spec"]["nodeSelector"]) == ("Always", {"disk": "fast"})
    assert pod["spec"]["initContainers"][0]["imagePullPolicy"] == "Always"
    cluster = SimpleNamespace(is_in_cluster=False, get_namespace=lambda: "default")
    monkeypatch.setattr(SopStepOperator, "hook", cluster)
    assert "hunter2" not in str(operator_of(in_image()).build_pod_request_obj())
    assert "hunter2" in str(operator_of(assignment()).build_pod_request_obj())


def test_the_operators_own_pod_hands_the_assignment_to_the_image_through_the_init_container(monkeypatch, tmp_path):
    cluster = SimpleNamespace(is_in_cluster=False, get_namespace=lambda: "default")
    monkeypatch.setattr(SopStepOperator, "hook", cluster)
    pod = operator_of(in_image()).build_pod_request_obj()
    (container,), (copying,) = pod.spec.containers, pod.spec.init_containers
    assert container.command == start_command()
    assert {one.name: one.value for one in container.env} == {"SOP_STEP": f"{RUNNER_FOLDER}/assignment.json"}
    command = [str(tmp_path) if part == RUNNER_FOLDER else part for part in copying.command]
    (tmp_path / "python").write_text('#!/bin/sh\necho "$@" > "$(dirname "$0")/called"\n')
    (tmp_path / "python").chmod(0o755)
    environment = {one.name: one.value for one in copying.env} | {"PATH": f"{tmp_path}:/usr/bin:/bin"}
    subprocess.run(command, env=environment, check=True)
    assert Assignment.model_validate_json((tmp_path / "assignment.json").read_bytes()) == in_image()
    assert (tmp_path / "called").read_text().split() == ["-m", COPY_MODULE, str(tmp_path)]


def test_a_pod_may_do_no_more_than_its_step_needs(monkeypatch):
    spec = pod_manifest(assignment(), read_settings())["spec"]
    (container,) = spec["containers"]
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "privileged": False,
        "readOnlyRootFilesystem": True,
        "runAsNonRoot": True,
        "seccompProfile": {"type": "RuntimeDefault"},
    }


def test_the_start_program_hands_the_assignment_to_the_runner(tmp_path):
    fields = pod_fields(assignment(), read_settings())
    environment = {one.name: one.value for one in fields["env_vars"]}
    bin_folder = tmp_path / "bin"
    bin_folder.mkdir()
    (bin_folder / "python").symlink_to(sys.executable)
    path = f"{bin_folder}:/usr/bin:/bin"
    environment |= {"PATH": path, "PYTHONPATH": str(Path(__file__).parents[2]), "TMPDIR": str(tmp_path)}
    environment["SOP_TERMINATION_LOG"] = str(tmp_path / "termination")
    result = subprocess.run(fields["cmds"], env=environment, capture_output=True, text=True, cwd=tmp_path)
    assert result.returncode == 0, result.stdout + result.stderr
    verdict = Verdict.model_validate_json((tmp_path / "termination").read_bytes())
    assert verdict.outputs == {"v": 'it\'s "quoted" $HOME\n'}


def pod(*, reason=None, exit_code=0, message=None, pod_reason=None, terminated=True):
    state = k8s.V1ContainerState(
        terminated=k8s.V1ContainerStateTerminated(exit_code=exit_code, reason=reason, message=message)
        if terminated
        else None
    )
    status = k8s.V1ContainerStatus(name="base", state=state, image="i", image_id="i", ready=False, restart_count=0)
    return k8s.V1Pod(status=k8s.V1PodStatus(container_statuses=[status], reason=pod_reason))


def test_a_verdict_in_the_termination_message_is_the_result():
    message = Verdict(status="succeeded", outputs={"v": 1}).model_dump_json()
    outcome = outcome_of_pod(pod(reason="Completed", message=message), "base")
    assert classify(outcome) is None
    assert outcome.verdict.outputs == {"v": 1}


@pytest.mark.parametrize(
    ("ended", "error_type"),
    [
        (None, "requeue"),
        (k8s.V1Pod(), "requeue"),
        (pod(terminated=False), "requeue"),
        (pod(reason="OOMKilled", exit_code=137), "resource"),
        (pod(pod_reason="DeadlineExceeded", exit_code=137, reason="Error"), "resource"),
        (pod(reason="Error", exit_code=75), "transient"),
        (pod(reason="Error", exit_code=65, message="no JSON"), "permanent"),
        (pod(reason="Error", exit_code=1), "crash"),
        (pod(reason="Completed", exit_code=0), "crash"),
    ],
)
def test_what_the_end_of_a_pod_means(ended, error_type):
    failure = classify(outcome_of_pod(ended, "base"))
    assert failure is not None
    assert failure.type == error_type


def test_how_a_pod_ended_is_remembered_before_it_is_deleted(monkeypatch):
    seen = []
    monkeypatch.setattr(KubernetesPodOperator, "cleanup", lambda self, *args: seen.append(self._ended))
    task, ended = operator(), pod(reason="Error", exit_code=75)
    task.cleanup(ended, ended)
    (outcome,) = seen
    assert outcome.exit_code == 75


class _PodLog(BaseHTTPRequestHandler):
    """Answers as the API does: plain text, of which it does not say how it is encoded."""

    text = ""

    def do_GET(self) -> None:
        body = self.text.encode()
        self.send_response(200)
        self.send_header("Content-Type", "text/plain")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments: object) -> None:
        """Say nothing."""


@pytest.fixture
def pod_log() -> Iterator[tuple[type[_PodLog], k8s_client.CoreV1Api]]:
    """A server of one pod's log, and the client that operators have."""
    handler = type("Log", (_PodLog,), {})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    configuration = k8s_client.Configuration()
    configuration.host = f"http://127.0.0.1:{server.server_port}"
    yield handler, k8s_client.CoreV1Api(k8s_client.ApiClient(configuration))
    server.shutdown()
    thread.join()
    server.server_close()


def test_outputs_that_do_not_fit_are_read_from_the_pods_log_before_it_is_deleted(monkeypatch, pod_log):
    whole = Verdict(status="succeeded", outputs="".join(map(str, range(4000))))
    handler, api = pod_log
    handler.text = "\n".join(["before, with é", *lines_of(whole), ""])
    monkeypatch.setattr(KubernetesPodOperator, "cleanup", lambda self, *args: None)
    monkeypatch.setattr(SopStepOperator, "client", api)
    ended = pod(reason="Completed", exit_code=0, message=whole.to_termination_message().decode())
    ended.metadata = k8s.V1ObjectMeta(name="p", namespace="n")
    task = operator()
    task.cleanup(ended, ended)
    assert task._ended.verdict == whole
