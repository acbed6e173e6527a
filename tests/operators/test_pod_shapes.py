"""A pod that was built for another attempt is the one that would have been built for this one."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from airflow.policies import hookimpl
from airflow.settings import get_policy_plugin_manager
from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_sop_provider.contract import Assignment
from airflow_sop_provider.engine.attempts import attempt_spec
from airflow_sop_provider.operators import pod_attempt, pod_shapes
from airflow_sop_provider.operators.pod_attempt import pod_manifest
from tests.properties.pods import assignments, steps_settings


@settings(max_examples=100, deadline=None)
@given(assignments(), assignments(), st.booleans())
def test_it_is_what_would_have_been_built(first: Assignment, second: Assignment, alike: bool) -> None:
    site = replace(steps_settings(), priority_class_prefix="sop")
    if alike:  # another attempt of the same step
        second = second.model_copy(update={"payload": first.payload})
    pod_manifest(first, site)
    expected = pod_attempt._built(second, site, attempt_spec(second, site))
    assert pod_manifest(second, site) == expected
    assert pod_manifest(second, site) == expected


def one(step: str = "a", **execution: Any) -> Assignment:
    key = {"sop": "s", "run_id": "r", "step": step, "attempt": 1, "task_instance_id": "t"}
    payload = {"kind": "step", "sop": "s", "version": "1", "digest": "d", "step": {"id": step, "compute": {"v": "1"}}}
    return Assignment.model_validate({"key": key, "payload": payload, "execution": execution})


def test_each_attempt_has_a_pod_of_its_own() -> None:
    first = pod_manifest(one(), steps_settings())
    first["spec"]["nodeName"] = "changed"
    assert "nodeName" not in pod_manifest(one(), steps_settings())["spec"]


def test_a_priority_of_the_execution_makes_another_pod() -> None:
    site = replace(steps_settings(), priority_class_prefix="sop")
    classes = [pod_manifest(one(priority=name), site)["spec"]["priorityClassName"] for name in ("low", "high", "low")]
    assert classes == ["sop-low", "sop-high", "sop-low"]


def test_a_template_that_changes_is_read_again(tmp_path: Path) -> None:
    template = tmp_path / "pod.yaml"
    found = []
    for scheduler in ("first", "the-second"):
        pod = {"metadata": {"name": "x"}, "spec": {"schedulerName": scheduler, "containers": [{"name": "base"}]}}
        template.write_text(json.dumps({"apiVersion": "v1", "kind": "Pod", **pod}))
        made = pod_manifest(one(), replace(steps_settings(), pod_template_file=str(template)))
        found.append(made["spec"]["schedulerName"])
    assert found == ["first", "the-second"]


class Hook:
    @hookimpl
    def pod_mutation_hook(self, pod: Any) -> None:
        pod.metadata.annotations = {"seen": pod.metadata.labels["sop/step"]}


@pytest.fixture
def hook() -> Iterator[None]:
    manager, made = get_policy_plugin_manager(), Hook()
    manager.register(made)
    pod_shapes.site_changes_pods.cache_clear()
    yield
    manager.unregister(made)
    pod_shapes.site_changes_pods.cache_clear()


def test_a_site_that_changes_pods_sees_each(hook: None) -> None:
    found = [pod_manifest(one(step), steps_settings())["metadata"]["annotations"] for step in ("a", "b", "a")]
    assert found == [{"seen": "a"}, {"seen": "b"}, {"seen": "a"}]


def test_only_so_many_are_kept() -> None:
    shapes = pod_shapes.PodShapes()
    for number in range(1000):
        shapes.pod(number, "n", {}, lambda: {"metadata": {"name": "n", "labels": {}}})
    assert len(shapes._texts) <= pod_shapes._KEPT
