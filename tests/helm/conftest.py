"""The chart, rendered by the real helm."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from tools.cluster.clients import HELM, client
from tools.cluster.layout import Layout
from tools.dev.environment import ROOT

CHART = ROOT / "helm"
Render = Callable[..., list[dict[str, Any]]]


@pytest.fixture(scope="session")
def helm() -> Path:
    return client(HELM, Layout.default().cache)


@pytest.fixture
def template(helm: Path, tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Calls `helm template` with values; returns what came of it."""

    def call(values: dict[str, Any]) -> subprocess.CompletedProcess[str]:
        file = tmp_path / "values.json"
        file.write_text(json.dumps(values))
        command = [str(helm), "template", "sop-engine", str(CHART), "--namespace", "airflow", "--values", str(file)]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    return call


@pytest.fixture
def render(template: Callable[..., subprocess.CompletedProcess[str]]) -> Render:
    """Returns the objects of the chart."""

    def call(**values: Any) -> list[dict[str, Any]]:
        done = template(values)
        assert done.returncode == 0, done.stderr
        return [found for found in yaml.safe_load_all(done.stdout) if found]

    return call
