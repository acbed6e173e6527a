"""What a runtime is told to start."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_sop_provider.contract import Assignment, AttemptKey, StepPayload, container_name
from airflow_sop_provider.engine.attempts import attempt_spec
from airflow_sop_provider.engine.priorities import PRIORITY_WEIGHTS, weight_of_conf
from airflow_sop_provider.engine.rollback import reason_to_skip, undone_step

KEY = AttemptKey(sop="s", run_id="r", step="a", map_index=4, attempt=2, task_instance_id="t")


@dataclass
class Settings:
    fleet_file: Path


def assignment(**values):
    payload = StepPayload(kind="step", sop="s", version="1", digest="d", step={"id": "a"}, **values)
    return Assignment(key=KEY, payload=payload, inputs={"x": None})


def test_an_attempt_is_our_runner_with_its_assignment(tmp_path):
    spec = attempt_spec(assignment(memory_bytes=9, timeout_seconds=1.5, control="C-1"), Settings(tmp_path / "none"))
    assert spec.name == container_name(KEY)
    assert spec.argv == (sys.executable, "-m", "airflow_sop_provider.runner")
    assert spec.env == {}
    assert set(spec.files) == {"assignment.json"}
    told = Assignment.model_validate_json(spec.files["assignment.json"])
    assert told == assignment(memory_bytes=9, timeout_seconds=1.5, control="C-1")
    assert told.inputs == {"x": None}
    assert (spec.memory_bytes, spec.timeout_seconds) == (9, 1.5)
    assert spec.labels == {
        "sop": "s",
        "execution": "r",
        "step": "a",
        "map_index": "4",
        "attempt": "2",
        "task_instance": "t",
        "control": "C-1",
    }


def test_a_command_may_name_its_image_and_gets_no_data_sources_there(tmp_path):
    fleet = tmp_path / "fleet.yaml"
    fleet.write_text("servers: {}")

    def spec_of(kind, step):
        payload = StepPayload(kind=kind, sop="s", version="1", digest="d", step={"id": "a", **step})
        return attempt_spec(Assignment(key=KEY, payload=payload), Settings(fleet))

    command = {"command": {"image": "tool:1", "command": ["run"]}}
    for kind in ("step", "rollback"):
        assert spec_of(kind, command).image == "tool:1"
        assert set(spec_of(kind, command).files) == {"assignment.json"}
    for kind, step in (("step", {"command": {"command": ["run"]}}), ("step", {"compute": {}}), ("items", command)):
        assert spec_of(kind, step).image is None
        assert set(spec_of(kind, step).files) == {"assignment.json", "fleet.yaml"}


KEYS = st.builds(
    AttemptKey,
    sop=st.sampled_from(["s", "s-a"]),
    run_id=st.sampled_from(["r", "r1"]),
    step=st.sampled_from(["a", "s-a", "x" * 100]),
    map_index=st.integers(-1, 11),
    attempt=st.integers(1, 12),
    task_instance_id=st.sampled_from(["t", "1", "t1"]),
)


@given(KEYS, KEYS)
def test_no_two_attempts_have_one_name(one, other):
    """So a retry neither adopts what is kept of the try before it nor is in its way."""
    assert (container_name(one) == container_name(other)) == (one == other)


def test_the_fleet_comes_along_where_there_is_one(tmp_path):
    (tmp_path / "fleet.yaml").write_text("servers: {}")
    spec = attempt_spec(assignment(), Settings(tmp_path / "fleet.yaml"))
    assert spec.files["fleet.yaml"] == b"servers: {}"
    assert "control" not in spec.labels


def test_a_rollback_step_runs_only_if_there_is_something_to_undo():
    payload = StepPayload(kind="rollback", sop="s", version="1", digest="d", step={"id": "u", "after": "a"})
    assert undone_step(payload) == "a"
    assert reason_to_skip(payload, undone_succeeded=True, execution_failed=True) is None
    assert "`a` did not succeed" in (reason_to_skip(payload, undone_succeeded=False, execution_failed=True) or "")
    assert "no step" in (reason_to_skip(payload, undone_succeeded=True, execution_failed=False) or "")


def test_the_weight_that_a_conf_asks_for():
    assert [weight_of_conf({"priority": name}) for name in PRIORITY_WEIGHTS] == [1000, 100, 10, 1]
    assert [weight_of_conf(conf) for conf in (None, {}, {"priority": "urgent"}, {"priority": ["high"]})] == [None] * 4


@pytest.mark.parametrize(
    ("step", "asks"),
    [
        ({"id": "x", "decision": {"question": "?"}}, True),
        ({"id": "x", "agent": {"instruction": "y"}}, True),
        ({"id": "x"}, False),
    ],
)
def test_the_sites_models_go_to_steps_that_ask_alone(tmp_path: Path, step: dict[str, Any], asks: bool) -> None:
    (tmp_path / "models.yaml").write_text("models: {}")
    payload = StepPayload(kind="step", sop="s", version="1", digest="0" * 64, step=step)
    spec = attempt_spec(Assignment(key=KEY, payload=payload), Settings(tmp_path / "fleet.yaml"))
    assert ("models.yaml" in spec.files) == asks
