"""The options of ``[sop]``."""

from __future__ import annotations

from pathlib import Path

import pytest

from airflow_sop_provider import get_provider_info
from airflow_sop_provider.airflow_settings import (
    ApiLimits,
    EscalationSettings,
    SettingsError,
    SopSettings,
    api_limits,
    escalation_settings,
    overrun_rule,
    read_settings,
)
from airflow_sop_provider.engine.alert_rules import OverrunRule


def test_every_declared_option_has_a_default_that_can_be_read(monkeypatch):
    monkeypatch.delenv("AIRFLOW__SOP__RUNTIME")  # the suite sets it
    settings = read_settings()
    declared = get_provider_info()["config"]["sop"]["options"]
    escalation = {f"escalation_{name}" for name in EscalationSettings.__dataclass_fields__}
    others = {"alert_factor", "alert_history", "alert_look_back_days", "approver_groups"}
    others |= {"api_calls_per_minute", "api_body_bytes", "runner_calls_per_minute", "runner_body_bytes"}
    assert set(declared) == set(SopSettings.__dataclass_fields__) | escalation | others
    assert escalation_settings() == EscalationSettings()
    assert overrun_rule() == OverrunRule()
    assert api_limits() == ApiLimits()
    assert settings.runtime == ("kubernetes", "docker", "local")
    assert settings.sops_folder.is_absolute()
    assert settings.fleet_file.parent != settings.sops_folder  # or it would be taken for an SOP
    assert settings.termination_grace_seconds < 2
    assert settings.keep_failed_seconds == 0
    assert settings.audit_retention_days == 400


def test_the_metadata_is_what_airflow_accepts():
    import json
    from importlib.resources import files

    import jsonschema

    schema = json.loads(files("airflow").joinpath("provider_info.schema.json").read_text())
    jsonschema.validate(get_provider_info(), schema)


def test_options_come_from_the_environment(monkeypatch):
    for name, value in {
        "WORK_FOLDER": "~/work", "POLL_SECONDS": "1.5", "IMAGE": "our/runner:1", "NAMESPACE": "steps",
        "RUNTIME": "kubernetes", "PAUSED_UPON_CREATION": "yes", "OUTPUT_LIMIT": "10",
    }.items():  # fmt: skip
        monkeypatch.setenv(f"AIRFLOW__SOP__{name}", value)
    settings = read_settings()
    assert settings.work_folder == Path.home() / "work"
    assert (settings.poll_seconds, settings.image, settings.namespace) == (1.5, "our/runner:1", "steps")
    assert (settings.runtime, settings.paused_upon_creation, settings.output_limit) == (("kubernetes",), True, 10)


@pytest.mark.parametrize(
    ("option", "value", "told"),
    [
        ("POLL_SECONDS", "often", "give a number"),
        ("POLL_SECONDS", "0", "above 0"),
        ("OUTPUT_LIMIT", "1.5", "give a number"),
        ("TERMINATION_GRACE_SECONDS", "-1", "at least 0"),
        ("KEEP_FAILED_SECONDS", "-1", "at least 0"),
        ("RUNTIME", "dokcer", "auto, kubernetes, docker or local"),
        ("RUNTIME", "docker,", "auto, kubernetes, docker or local"),
        ("ENGINE_URL", "engine:8080", "http"),
        ("ENGINE_URL", "http://", "http"),
        ("ENGINE_URL", "https://me:hunter2@engine", "http"),
        ("PAUSED_UPON_CREATION", "perhaps", "True or False"),
    ],
)
def test_a_bad_value_names_the_option_and_the_remedy(monkeypatch, option, value, told):
    monkeypatch.setenv(f"AIRFLOW__SOP__{option}", value)
    with pytest.raises(SettingsError, match=rf"\[sop\] {option.lower()} is .*{told}"):
        read_settings()


def test_runtimes_may_be_given_in_order(monkeypatch):
    monkeypatch.setenv("AIRFLOW__SOP__RUNTIME", "docker, local")
    assert read_settings().runtime == ("docker", "local")


def test_an_engine_has_an_address_or_there_is_none(monkeypatch):
    assert read_settings().engine_url is None
    monkeypatch.setenv("AIRFLOW__SOP__ENGINE_URL", "https://engine.example:8443/sop/")
    assert read_settings().engine_url == "https://engine.example:8443/sop"


def test_a_password_in_an_address_is_not_repeated(monkeypatch):
    monkeypatch.setenv("AIRFLOW__SOP__ENGINE_URL", "https://me:hunter2@engine")
    with pytest.raises(SettingsError) as refused:
        read_settings()
    assert "hunter2" not in str(refused.value)


def test_keys_of_models_are_named_by_secret(monkeypatch):
    monkeypatch.setenv("AIRFLOW__SOP__MODEL_SECRETS", '{"B_KEY": "keys/b", "A_KEY": "model-keys/a.txt"}')
    assert read_settings().model_secrets == (("A_KEY", "model-keys", "a.txt"), ("B_KEY", "keys", "b"))
    for wrong in ("[]", "{", '{"A KEY": "x/y"}', '{"A": "x"}', '{"A": "sk-very-secret"}', '{"A": "x/y/z"}'):
        monkeypatch.setenv("AIRFLOW__SOP__MODEL_SECRETS", wrong)
        with pytest.raises(SettingsError, match="model_secrets is no JSON object of VARIABLE: SECRET/KEY") as caught:
            read_settings()
        assert "sk-very-secret" not in str(caught.value), "somebody may give the key itself"
