"""The shipped agent-centric SOP as the real program, with the shipped models.yaml and server."""

from __future__ import annotations

import shutil
from pathlib import Path

import yaml

from airflow_sop_provider.contract import Assignment, AttemptKey
from airflow_sop_provider.engine.assignments import build_assignment
from airflow_sop_provider.engine.payloads import sop_payload
from airflow_sop_provider.sop import check_file
from tests.runner.conftest import ROOT, Program


def _assignment() -> Assignment:
    loaded = check_file(ROOT / "sops" / "package-brief.yaml").loaded
    assert loaded is not None
    key = AttemptKey(sop="package-brief", run_id="r", step="agent", attempt=1, task_instance_id="0-0")
    return build_assignment(key, sop_payload(loaded), {}, {}, execution={"id": "package-brief/r"})


def test_it_is_carried_out_from_its_first_step_to_its_brief(program: Program) -> None:
    shutil.copy(ROOT / "models.yaml", program.folder)
    result = program.run(_assignment(), (ROOT / "fleet.yaml").read_text())
    steps = result.outputs["steps"]
    assert list(steps) == ["interpreter", "licences", "files", "brief"]
    assert steps["brief"]["text"].startswith(f"PyYAML {yaml.__version__} is installed for "), steps["brief"]
    assert result.verdict is not None
    assert result.verdict.usage.tool_calls == 3
    assert (Path(program.folder) / "checkpoint.json").stat().st_mode & 0o777 == 0o600
