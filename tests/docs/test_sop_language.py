"""docs/sop-language.md is true: its YAML is valid, its commands print what it shows, its tables name every field.

Blocks marked ``yaml`` are checked; a fragment is completed to an SOP first. ``yaml invalid FILE`` is written to
that file for the commands below it. ``console`` blocks run from top to bottom in one folder with the shipped SOPs;
``...`` in what they print stands for anything.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from airflow_sop_provider.sop import check_text, models
from airflow_sop_provider.sop.filters import FILTERS, TESTS
from airflow_sop_provider.sop.step_models import Command, Decision, RollbackStep, Step

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "sop-language.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(yaml|console)([^\n]*)\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
YAML = [text for kind, info, text in BLOCKS if kind == "yaml" and not info]
HEADER = "sop: example\nversion: 1.0.0\ntitle: Example\n"
SOURCES = """data_sources:
  environment: {server: python-environment, tools: [python_info, package_groups, licences, verify_record]}
"""


def completed(text: str) -> str:
    """Make a whole SOP of a fragment: of top-level keys, or of a list of steps."""
    if text.startswith("sop:"):
        return text
    if text.startswith("- id:"):
        text = "steps:\n" + "".join(f"  {line}\n" for line in text.splitlines())
    return HEADER + ("" if "data_sources:" in text else SOURCES) + text


@pytest.mark.parametrize("text", YAML, ids=lambda text: text.splitlines()[0])
def test_yaml_is_valid(text: str) -> None:
    assert [problem.render() for problem in check_text(completed(text)).problems] == []


def matches(printed: str, shown: str) -> bool:
    pattern = ".*".join(re.escape(part) for part in shown.rstrip("\n").split("..."))
    return re.fullmatch(pattern, printed.rstrip("\n"), re.DOTALL) is not None


@pytest.mark.slow
def test_commands_print_what_the_page_shows(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "sops", tmp_path / "sops")
    program = tmp_path / "bin" / "sop"
    program.parent.mkdir()
    program.write_text(
        f"#!{sys.executable}\nimport sys\nsys.path.insert(0, {str(ROOT)!r})\n"
        "from airflow_sop_provider.cli import main\nmain()\n"
    )
    program.chmod(0o755)
    ran = 0
    for kind, info, text in BLOCKS:
        if info.startswith(" invalid "):
            (tmp_path / info.removeprefix(" invalid ")).write_text(text)
        if kind != "console":
            continue
        for command, shown in re.findall(r"^\$ ([^\n]+)\n(.*?)(?=^\$ |\Z)", text, re.MULTILINE | re.DOTALL):
            done = subprocess.run(
                ["bash", "-c", command], cwd=tmp_path, capture_output=True, text=True, check=False,
                env={"PATH": f"{program.parent}:/usr/bin:/bin", "HOME": str(tmp_path)},
            )  # fmt: skip
            printed = done.stdout + done.stderr
            assert matches(printed, shown), f"$ {command}\nprinted:\n{printed}\nthe page shows:\n{shown}"
            ran += 1
    assert ran >= 10


def fields_named(section: str) -> set[str]:
    body = PAGE.split(f"\n## {section}\n", 1)[1].split("\n## ", 1)[0]
    return {name for row in re.findall(r"^\|([^\n]*)", body, re.MULTILINE) for name in re.findall(r"`(\w+)[`:]", row)}


@pytest.mark.parametrize(
    ("section", "model"),
    [
        *(("Top level", model) for model in (models.Sop, models.DataSource, models.AgentConfig, models.Resources)),
        *(("Top level", model) for model in (models.Schedule, models.Escalation)),
        *(("Kinds of step", model) for model in (Decision, Command, models.AgentStep, models.Approval)),
    ],
)
def test_every_field_of_the_language_is_described(section: str, model: type[models.Sop]) -> None:
    assert set(model.model_fields) <= fields_named(section)


def test_every_field_of_steps_is_described() -> None:
    assert set(Step.model_fields) <= fields_named("Steps") | fields_named("Kinds of step")
    body = PAGE.split("\n## Rollback\n", 1)[1].split("\n## ", 1)[0]
    assert set(RollbackStep.model_fields) - {"arguments"} <= set(re.findall(r"`(\w+)`", body))


def test_filters_and_tests_are_all_named() -> None:
    body = PAGE.split("\n## Expressions\n", 1)[1].split("\n## ", 1)[0]
    named = re.search(r"Filters are\n(.*?)\.\nTests, after `is`, are\n(.*?)\.", body, re.DOTALL)
    assert named is not None
    assert set(re.findall(r"`(\w+)`", named[1])) == set(FILTERS)
    assert set(re.findall(r"`(\w+)`", named[2])) == {name for name in TESTS if name.isalpha()}


def test_links_lead_somewhere() -> None:
    for target in re.findall(r"\]\(([^)#:]+)\)", PAGE):
        assert (ROOT / "docs" / target).exists(), target
