"""docs/evaluation.md is true: its commands print what it shows, and it names every field."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from airflow_sop_provider.evals.models import (
    Case,
    Comparison,
    Expected,
    How,
    RecordedError,
    RecordedResult,
    Suite,
    Thresholds,
)  # fmt: skip
from airflow_sop_provider.sop.fields import Model
from tests.docs.test_sop_language import ROOT, matches

PAGE = (ROOT / "docs" / "evaluation.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "model",
    [Suite, Case, Expected, Comparison, How, Thresholds, RecordedResult, RecordedError],
    ids=lambda m: m.__name__,
)
def test_every_field_is_named(model: type[Model]) -> None:
    assert {name for name in model.model_fields if not re.search(rf"\b{name}\b", PAGE)} == set()


@pytest.mark.slow
def test_commands_print_what_the_page_shows(tmp_path: Path) -> None:
    for folder in ("sops", "evals"):
        shutil.copytree(ROOT / folder, tmp_path / folder)
    for file in ("fleet.yaml", "models.yaml"):
        shutil.copy(ROOT / file, tmp_path)
    program = tmp_path / "bin" / "sop"
    program.parent.mkdir()
    program.write_text(
        f"#!{sys.executable}\nimport sys\nsys.path.insert(0, {str(ROOT)!r})\n"
        "from airflow_sop_provider.cli import main\nmain()\n"
    )
    program.chmod(0o755)
    commands = [
        command
        for block in re.findall(r"^```console\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
        for command in re.findall(r"^\$ ([^\n]+)\n(.*?)(?=^\$ |\Z)", block, re.MULTILINE | re.DOTALL)
    ]
    assert len(commands) >= 3
    for command, shown in commands:
        done = subprocess.run(
            ["bash", "-c", command], cwd=tmp_path, capture_output=True, text=True, check=False,
            env={"PATH": f"{program.parent}:/usr/bin:/bin", "HOME": str(tmp_path)},
        )  # fmt: skip
        printed = done.stdout + done.stderr
        assert matches(printed, shown), f"$ {command}\nprinted:\n{printed}\nthe page shows:\n{shown}"
    assert (tmp_path / "report.html").stat().st_size > 1000
