"""Dashboard and mapping speak of what the engine sends, all of it and nothing else."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
import yaml

from airflow_sop_provider.api.stats import STATS
from tests.helm.conftest import Render

_METRIC = re.compile(r"\bsop_[a-z0-9_]+")
_OF_A_HISTOGRAM = re.compile(r"_(bucket|sum|count)$")


@pytest.fixture
def maps(render: Render) -> dict[str, dict[str, Any]]:
    return {found["metadata"]["name"].partition("-")[2]: found for found in render() if found["kind"] == "ConfigMap"}


@pytest.fixture
def mappings(maps: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
    (found,) = (one for name, one in maps.items() if name.endswith("statsd-mapping"))
    listed: list[dict[str, Any]] = yaml.safe_load(found["data"]["mappings.yml"])["mappings"]
    return listed


@pytest.fixture
def dashboard(maps: dict[str, dict[str, Any]]) -> dict[str, Any]:
    (found,) = (one for name, one in maps.items() if name.endswith("grafana-dashboard"))
    assert found["metadata"]["labels"]["grafana_dashboard"] == "1"
    parsed: dict[str, Any] = json.loads(found["data"]["sop-engine.json"])
    return parsed


def expressions(dashboard: dict[str, Any]) -> list[str]:
    return [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]


def test_the_mapping_names_all_that_is_sent_with_its_labels(mappings) -> None:
    found = {one["match"]: one for one in mappings}
    assert len(found) == len(mappings)
    expected = {f"airflow.{stat.name}{'.*' * len(stat.labels)}": stat for stat in STATS}
    assert found.keys() == expected.keys()
    for match, stat in expected.items():
        labels = {label: f"${number}" for number, label in enumerate(stat.labels, start=1)}
        suffix = {"counter": "_total", "timer": "_seconds", "gauge": ""}[stat.kind]
        assert found[match].get("labels", {}) == labels, match
        assert found[match]["name"] == stat.name.replace(".", "_") + suffix
        assert (found[match].get("observer_type") == "histogram") is (stat.kind == "timer")


def test_the_dashboard_asks_for_what_the_mapping_gives(mappings, dashboard) -> None:
    labels = {one["name"]: set(one.get("labels", {})) for one in mappings}
    histograms = {one["name"] for one in mappings if one.get("observer_type") == "histogram"}
    for expression in expressions(dashboard):
        for name in _METRIC.findall(expression):
            base = _OF_A_HISTOGRAM.sub("", name)
            assert name in labels.keys() - histograms or base in histograms, expression
        for listed in re.findall(r"by \(([^)]*)\)", expression):
            known = set().union(*(labels[_OF_A_HISTOGRAM.sub("", name)] for name in _METRIC.findall(expression)))
            assert {one.strip() for one in listed.split(",")} <= known | {"le"}, expression


def test_nothing_that_is_sent_is_missing_on_the_dashboard(mappings, dashboard) -> None:
    shown = {_OF_A_HISTOGRAM.sub("", name) for text in expressions(dashboard) for name in _METRIC.findall(text)}
    assert shown == {one["name"] for one in mappings}


def test_panels_lie_beside_each_other(dashboard) -> None:
    places = {
        (x, y)
        for panel in dashboard["panels"]
        for x in range(panel["gridPos"]["x"], panel["gridPos"]["x"] + panel["gridPos"]["w"])
        for y in [panel["gridPos"]["y"]]
    }
    assert len(places) == sum(panel["gridPos"]["w"] for panel in dashboard["panels"])
    assert max(x for x, _ in places) < 24
    assert len({panel["id"] for panel in dashboard["panels"]}) == len(dashboard["panels"])


def test_it_can_be_left_out(render: Render) -> None:
    names = [found["metadata"]["name"] for found in render(monitoring={"create": False})]
    assert not [name for name in names if "grafana" in name or "statsd" in name]
