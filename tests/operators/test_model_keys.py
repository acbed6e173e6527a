"""Keys of models reach the pods that ask one, as references to a Secret; a value is nowhere."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from airflow_sop_provider.contract import Assignment
from airflow_sop_provider.operators.pod_attempt import pod_fields, pod_manifest
from tests.properties.pods import steps_settings

SECRETS = (("OPENAI_API_KEY", "model-keys", "openai"), ("OTHER_KEY", "model-keys", "other"))
REFERENCE = {"name": "OPENAI_API_KEY", "valueFrom": {"secretKeyRef": {"name": "model-keys", "key": "openai"}}}
ASKS = {"agent": {"instruction": "Think."}}
DECIDES = {"decision": {"question": "?", "options": {"a": "1", "b": "2"}}}


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    models = {"models": {"*": {"use": "openai:m", "base_url": "http://x/v1", "api_key": "${OPENAI_API_KEY}"}}}
    (tmp_path / "models.yaml").write_text(json.dumps(models))
    monkeypatch.setenv("OPENAI_API_KEY", "sk-of-the-scheduler")
    return replace(steps_settings(), fleet_file=tmp_path / "fleet.yaml", model_secrets=SECRETS)


def work(step: dict[str, Any], kind: str = "step") -> Assignment:
    key = {"sop": "s", "run_id": "r", "step": "a", "attempt": 1, "task_instance_id": "t"}
    payload = {"kind": kind, "sop": "s", "version": "1", "digest": "d", "step": {"id": "a", **step}}
    return Assignment.model_validate({"key": key, "payload": payload})


def variables(manifest: dict[str, Any]) -> list[dict[str, Any]]:
    return manifest["spec"]["containers"][0].get("env", [])


@pytest.mark.parametrize(("step", "kind"), [(ASKS, "step"), (DECIDES, "step"), ({"steps": []}, "agent_centric")])
def test_a_step_that_asks_a_model_gets_a_reference_to_what_that_model_reads(site, step, kind) -> None:
    made = variables(pod_manifest(work(step, kind), site))
    assert REFERENCE in made
    assert "OTHER_KEY" not in [one["name"] for one in made], "no model reads it"
    assert "sk-of-the-scheduler" not in json.dumps(pod_manifest(work(step, kind), site))


def test_no_other_step_gets_any_and_a_pod_made_before_is_not_taken_for_it(site) -> None:
    for step in ({"compute": {"x": "1"}}, {"command": {"command": ["true"]}}, {"tool": "a.b"}):
        assert REFERENCE not in variables(pod_manifest(work(step), site))
        assert REFERENCE in variables(pod_manifest(work(ASKS), site))


def test_a_pod_of_the_operator_has_the_sites_models_too(site) -> None:
    made = {one.name: one for one in pod_fields(work(ASKS), site)["env_vars"]}
    assert json.loads(made["SOP_MODELS_YAML"].value)["models"]["*"]["api_key"] == "${OPENAI_API_KEY}"
    assert made["OPENAI_API_KEY"].value_from.secret_key_ref.key == "openai"
    assert {one.name: one for one in pod_fields(work({"compute": {"x": "1"}}), site)["env_vars"]}[
        "SOP_MODELS_YAML"
    ].value == ""
