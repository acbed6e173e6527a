"""What the chart puts into a cluster: valid objects, the least rights, a place for steps that nothing else reaches."""

from __future__ import annotations

import ast
import inspect
import re
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from kubernetes_validate import validate
from kubernetes_validate.utils import all_versions

from airflow_sop_provider.api.gateway_app import HEALTH
from airflow_sop_provider.cli.app import app
from airflow_sop_provider.engine.priorities import PRIORITY_WEIGHTS
from airflow_sop_provider.fleet.registry import load_fleet
from airflow_sop_provider.provider_info import CONFIG_SECTION, PROVIDER_INFO
from airflow_sop_provider.runtimes import kube_api, kubernetes
from airflow_sop_provider.runtimes.base import MANAGED_BY
from tests.helm.conftest import CHART, Render

VARIANTS: dict[str, dict[str, Any]] = {
    "defaults": {},
    "everything": {
        "airflow": {"namespace": "control-plane", "serviceAccount": "af"},
        "runners": {
            "image": {"tag": "1.2.3", "pullSecrets": ["registry"], "pullPolicy": "Always"},
            "nodeSelector": {"pool": "steps"},
            "tolerations": [{"key": "steps", "operator": "Exists"}],
            "affinity": {"nodeAffinity": {}},
            "schedulerName": "sop-bin-packing",
        },
        "scheduler": {"create": True},
        "rbac": {"podOperator": True},
        "networkPolicy": {"fleet": {"podLabels": {"app": "fleet"}}, "model": {"cidrs": ["10.1.2.3/32", "fd00::/8"]}},
        "fleet": {"servers": {"docs": {"transport": "http", "url": "https://docs.example/mcp"}}},
    },
    "gateway": {
        "gateway": {
            "create": True,
            "extraEnv": [{"name": "CRM_TOKEN", "valueFrom": {"secretKeyRef": {"name": "crm", "key": "token"}}}],
            "image": {"pullSecrets": ["registry"]},
            "nodeSelector": {"pool": "control"},
            "tolerations": [{"operator": "Exists"}],
        },
        "fleet": {"servers": {"crm": {"transport": "http", "url": "https://crm.example/mcp"}}},
    },
    "nothing": {
        "runners": {"createNamespace": False, "namespace": ""},
        **{part: {"create": False} for part in ("rbac", "priorityClasses", "quota", "limitRange", "networkPolicy")},
        "disruption": {"protectRunningSteps": False},
    },
}


def of_kind(objects: list[dict[str, Any]], kind: str) -> list[dict[str, Any]]:
    return [found for found in objects if found["kind"] == kind]


def only(objects: list[dict[str, Any]], kind: str) -> dict[str, Any]:
    (found,) = of_kind(objects, kind)
    return found


def configuration(objects: list[dict[str, Any]]) -> dict[str, Any]:
    """Return what Airflow mounts."""
    (found,) = (one for one in of_kind(objects, "ConfigMap") if one["metadata"]["name"].endswith("-config"))
    return found


@pytest.mark.slow
@pytest.mark.parametrize("variant", VARIANTS)
def test_every_object_is_valid_in_every_supported_kubernetes(render: Render, variant: str) -> None:
    objects = render(**VARIANTS[variant])
    versions = [f"1.{minor}.0" for minor in range(29, 36)]
    assert set(versions) <= set(all_versions())
    for version in versions:
        for found in objects:
            validate(found, version, strict=True)
    names = [(found["kind"], found["metadata"].get("namespace"), found["metadata"]["name"]) for found in objects]
    assert len(set(names)) == len(names)


def test_helm_finds_nothing_to_say(helm: Any) -> None:
    done = subprocess.run([str(helm), "lint", "--strict", str(CHART)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "[WARNING]" not in done.stdout


def test_the_executor_may_do_what_its_client_calls_and_nothing_else(render: Render) -> None:
    role = only(render(), "Role")
    allowed = {(resource, verb) for rule in role["rules"] for resource in rule["resources"] for verb in rule["verbs"]}
    assert allowed == set(_calls_of_the_client())
    assert not any("*" in part for rule in role["rules"] for part in (*rule["resources"], *rule["verbs"]))
    assert of_kind(render(), "ClusterRole") == []
    (subject,) = only(render(), "RoleBinding")["subjects"]
    assert (subject["namespace"], subject["name"]) == ("airflow", "airflow-scheduler")


def _calls_of_the_client() -> Iterator[tuple[str, str]]:
    """What `kube_api` asks of the API, read from its source, as rights are named."""
    verbs = {"POST": "create", "DELETE": "delete"}
    for node in ast.walk(ast.parse(inspect.getsource(kube_api))):
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
            continue
        texts = [ast.unparse(argument).strip("f'\"") for argument in node.args]
        match node.func.attr:
            case "_call" | "_open" if texts[0] in verbs:
                if not texts[1].startswith("path"):
                    yield texts[1].split("/")[0], verbs[texts[0]]
            case "_call" | "_open" if texts[0] == "GET" and texts[1] == "pods":
                yield "pods", "watch"
            case "_call" | "_open" if texts[0] == "GET" and texts[1].endswith("/log"):
                yield "pods/log", "get"
            case "_call" | "_open" if texts[0] == "GET" and "/" in texts[1]:
                yield texts[1].split("/")[0], "get"
            case "_list":
                yield texts[0], "list"
            case "_delete":
                yield texts[0].split("/")[0], "delete"


def test_pod_operators_own_code_gets_more_only_where_it_is_wanted(render: Render) -> None:
    rules = only(render(rbac={"podOperator": True}), "Role")["rules"]
    assert {"apiGroups": [""], "resources": ["events"], "verbs": ["get", "list", "watch"]} in rules


def test_steps_reach_only_what_they_need(render: Render) -> None:
    policy = only(render(), "NetworkPolicy")
    assert policy["metadata"]["namespace"] == "sop-runners"
    assert policy["spec"]["podSelector"]["matchLabels"] == MANAGED_BY
    assert policy["spec"]["policyTypes"] == ["Ingress", "Egress"]
    assert policy["spec"]["ingress"] == []
    dns, engine = policy["spec"]["egress"]
    assert {port["port"] for port in dns["ports"]} == {53}
    assert engine["to"][0]["namespaceSelector"]["matchLabels"] == {"kubernetes.io/metadata.name": "airflow"}
    everything = only(render(**VARIANTS["everything"]), "NetworkPolicy")["spec"]["egress"]
    assert len(everything) == 4
    assert everything[3]["to"] == [{"ipBlock": {"cidr": "10.1.2.3/32"}}, {"ipBlock": {"cidr": "fd00::/8"}}]
    assert not any("to" not in rule or not rule["to"] for rule in everything), "a rule without peers allows all"


def _gateway(objects: list[dict[str, Any]], kind: str) -> dict[str, Any]:
    (found,) = [one for one in of_kind(objects, kind) if one["metadata"]["name"] == "sop-engine-fleet"]
    return found


def test_a_gateway_of_its_own_is_the_only_door_and_only_steps_come_to_it(render: Render) -> None:
    assert of_kind(render(), "Deployment") == []
    objects = render(**VARIANTS["gateway"])
    labels = _gateway(objects, "Deployment")["spec"]["template"]["metadata"]["labels"]
    service = _gateway(objects, "Service")["spec"]
    assert service["selector"].items() <= labels.items()
    (steps,) = [one for one in of_kind(objects, "NetworkPolicy") if one["metadata"]["name"] == "sop-engine-steps"]
    (way,) = [
        rule for rule in steps["spec"]["egress"] if rule["to"][0]["podSelector"]["matchLabels"] == service["selector"]
    ]
    assert way["ports"] == [{"protocol": "TCP", "port": service["ports"][0]["port"]}]
    (come,) = _gateway(objects, "NetworkPolicy")["spec"]["ingress"]
    (peer,) = come["from"]
    assert peer["podSelector"]["matchLabels"] == MANAGED_BY
    assert peer["namespaceSelector"]["matchLabels"] == {"kubernetes.io/metadata.name": "sop-runners"}


def test_the_gateways_pod_is_as_confined_as_a_step_and_runs_a_command_that_exists(render: Render) -> None:
    objects = render(**VARIANTS["gateway"])
    pod = _gateway(objects, "Deployment")["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]}
    }  # fmt: skip
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["serviceAccountName"] == _gateway(objects, "ServiceAccount")["metadata"]["name"]
    assert not any("fleet" in str(one.get("subjects")) for one in of_kind(objects, "RoleBinding")), "no rights"
    assert container["command"] == ["sop"]
    command = app.commands["fleet"].commands["serve"]  # type: ignore[attr-defined]
    parsed = command.make_context("serve", container["args"][2:]).params
    assert parsed == {"host": "0.0.0.0", "port": 8443, "workers": 1}
    assert container["readinessProbe"]["httpGet"]["path"] == HEALTH
    for variable in container["env"]:
        if "value" not in variable:
            assert "secretKeyRef" in variable["valueFrom"], "a secret is never written into the pod"
    named = {name.removeprefix("AIRFLOW__SOP__").lower() for name in _names(container) if "__SOP__" in name}
    assert named <= set(PROVIDER_INFO["config"][CONFIG_SECTION]["options"])


def _names(container: dict[str, Any]) -> list[str]:
    return [variable["name"] for variable in container["env"]]


def test_a_changed_fleet_gives_new_gateways(render: Render) -> None:
    values = VARIANTS["gateway"]
    before, after = (
        _gateway(render(**{**values, "fleet": {"servers": servers}}), "Deployment")["spec"]["template"]["metadata"]
        for servers in (values["fleet"]["servers"], {})
    )
    assert before["annotations"] != after["annotations"]


def test_priorities_are_those_of_the_language_in_their_order(render: Render) -> None:
    classes = {found["metadata"]["name"]: found["value"] for found in of_kind(render(), "PriorityClass")}
    assert set(classes) == {f"sop-{priority}" for priority in PRIORITY_WEIGHTS}
    by_weight = sorted(PRIORITY_WEIGHTS, key=PRIORITY_WEIGHTS.__getitem__)
    assert sorted(classes, key=classes.__getitem__) == [f"sop-{priority}" for priority in by_weight]
    assert all(value < 1_000_000_000 for value in classes.values()), "the system's own classes stay above"


def test_running_steps_are_not_evicted(render: Render) -> None:
    spec = only(render(), "PodDisruptionBudget")["spec"]
    assert spec["selector"]["matchLabels"] == MANAGED_BY
    assert isinstance(spec["minAvailable"], int), "pods without a controller can only be counted"
    assert spec["minAvailable"] > int(only(render(), "ResourceQuota")["spec"]["hard"]["count/pods"])


def test_a_step_has_an_account_without_a_token(render: Render) -> None:
    assert only(render(), "ServiceAccount")["automountServiceAccountToken"] is False
    pod = _pod_template(render())
    assert pod["spec"]["serviceAccountName"] == only(render(), "ServiceAccount")["metadata"]["name"]
    assert pod["spec"]["automountServiceAccountToken"] is False


def test_the_pod_template_is_a_pod_for_our_operator(render: Render) -> None:
    objects = render(**VARIANTS["everything"])
    pod = _pod_template(objects)
    validate(pod, "1.34.0", strict=True)
    assert pod["spec"]["containers"][0]["name"] == kubernetes.CONTAINER
    assert pod["spec"]["containers"][0]["image"] == "airflow-sop-runner:1.2.3"
    assert pod["spec"]["nodeSelector"] == {"pool": "steps"}
    assert pod["spec"]["tolerations"] == [{"key": "steps", "operator": "Exists"}]
    assert pod["spec"]["imagePullSecrets"] == [{"name": "registry"}]
    assert pod["spec"]["schedulerName"] == "sop-bin-packing"


def test_the_scheduler_that_packs_keeps_the_profile_of_all_other_pods(render: Render) -> None:
    (text,) = [one["data"]["scheduler.yaml"] for one in of_kind(render(**VARIANTS["everything"]), "ConfigMap")
               if "scheduler.yaml" in one["data"]]  # fmt: skip
    config = yaml.safe_load(text)
    default, packing = config["profiles"]
    assert default == {"schedulerName": "default-scheduler"}
    assert packing == yaml.safe_load((CHART / "files" / "scheduler-profile.yaml").read_text())
    (fit,) = packing["pluginConfig"]
    assert fit["args"]["scoringStrategy"]["type"] == "MostAllocated"
    assert "schedulerName" not in _pod_template(render())["spec"]


def _pod_template(objects: list[dict[str, Any]]) -> dict[str, Any]:
    pod: dict[str, Any] = yaml.safe_load(configuration(objects)["data"]["pod-template.yaml"])
    return pod


def test_the_fleet_is_one_our_reader_takes(render: Render, tmp_path: Any) -> None:
    file = tmp_path / "fleet.yaml"
    file.write_text(configuration(render(**VARIANTS["everything"]))["data"]["fleet.yaml"])
    assert set(load_fleet(file).servers) == {"docs"}


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"runner": {}}, "runner"),
        ({"runners": {"image": {"pullPolicy": "Sometimes"}}}, "pullPolicy"),
        ({"networkPolicy": {"engine": {"podLabels": {}, "port": 0}}}, "port"),
        ({"networkPolicy": {"model": {"cidrs": ["models.example"]}}}, "cidrs"),
        ({"runners": {"namespace": "airflow"}}, "name a namespace of the runners' own"),
        ({"limitRange": {"max": {"cpu": "many"}}}, "cpu"),
    ],
)
def test_values_that_mean_nothing_are_refused(template: Any, values: dict[str, Any], said: str) -> None:
    done = template(values)
    assert done.returncode != 0
    assert said in done.stderr


def test_the_notes_name_namespace_and_account(helm: Any) -> None:
    command = [str(helm), "install", "sop-engine", str(CHART), "--namespace", "airflow", "--dry-run=client"]
    done = subprocess.run(
        [*command, "--set", "networkPolicy.create=false"], capture_output=True, text=True, check=False
    )
    assert "steps run in namespace sop-runners" in done.stdout, done.stderr
    assert "Steps may reach the whole network" in done.stdout


def test_the_readme_has_a_line_for_every_value() -> None:
    rows = set(re.findall(r"^\| `([^`]+)` \|", (CHART / "README.md").read_text(), re.MULTILINE))
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    # what is an open map of names is one value
    maps = {"quota.hard", "limitRange.defaultRequest", "limitRange.default", "limitRange.max", "gateway.resources"}
    assert rows == set(_leaves(values, maps))


def _leaves(values: dict[str, Any], whole: set[str], prefix: str = "") -> Iterator[str]:
    for name, value in values.items():
        path = f"{prefix}{name}"
        if isinstance(value, dict) and value and path not in whole and not path.endswith("Labels"):
            yield from _leaves(value, whole, f"{path}.")
        else:
            yield path


def test_the_values_for_airflow_name_options_that_exist(render: Render) -> None:
    values = yaml.safe_load((CHART / "values-airflow.yaml").read_text())
    assert set(values["config"][CONFIG_SECTION]) <= set(PROVIDER_INFO["config"][CONFIG_SECTION]["options"])
    objects = render()
    config = configuration(objects)
    (volume,) = values["volumes"]
    assert volume["configMap"]["name"] == config["metadata"]["name"]
    (mount,) = values["volumeMounts"]
    sop = values["config"][CONFIG_SECTION]
    mounted = {f"{mount['mountPath']}/{name}" for name in config["data"]}
    assert {sop["fleet_file"], sop["pod_template_file"]} == mounted
    assert f"{sop['priority_class_prefix']}-high" in {c["metadata"]["name"] for c in of_kind(objects, "PriorityClass")}
    assert sop["engine_url"] == yaml.safe_load((CHART / "values.yaml").read_text())["gateway"]["engineUrl"]
    executors = values["config"]["core"]["executor"].split(",")
    assert "LocalExecutor" not in executors, "it would fork as many workers as steps may run at once"
    assert sop["namespace"] == only(objects, "Role")["metadata"]["namespace"]
    assert sop["image"] == _pod_template(objects)["spec"]["containers"][0]["image"]
