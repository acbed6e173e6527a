"""Coverage counts every process of the tests, and its limits are those of the project."""

import configparser
import os
import subprocess
import sys

from tools.dev import debian
from tools.dev import test as test_module
from tools.dev.environment import ROOT


def test_lines_and_branches_are_figures_of_their_own():
    totals = {"covered_lines": 91, "num_statements": 100, "covered_branches": 43, "num_branches": 50}
    assert test_module.figures(totals) == (91.0, 86.0)
    assert (test_module.LINE_LIMIT, test_module.BRANCH_LIMIT) == (90.0, 85.0)


def test_a_package_without_branches_is_no_division_by_zero():
    assert test_module.figures({"covered_lines": 0, "num_statements": 0, "covered_branches": 0, "num_branches": 0}) == (
        0,
        0,
    )


def test_a_process_with_a_cleaned_environment_in_another_folder_is_measured(tmp_path):
    marker = tmp_path / "coverage-run"
    marker.write_text(test_module._configuration().replace(str(test_module._DATA), str(tmp_path / ".coverage")))
    settings = configparser.ConfigParser()
    settings.read(marker)
    assert settings["run"]["branch"] == "True"
    script = "import airflow_sop_provider.contract.attempt, os; os._exit(0)"
    subprocess.run(
        [sys.executable, "-c", script],
        cwd=tmp_path,
        env={"COVERAGE_PROCESS_START": str(marker), "PYTHONPATH": str(ROOT), "PATH": os.defpath},
        check=True,
    )
    [data] = tmp_path.glob(".coverage.*")
    import coverage

    found = coverage.CoverageData(str(data))
    found.read()
    assert [name for name in found.measured_files() if name.endswith("contract/attempt.py")]


def test_only_missing_packages_are_installed():
    assert debian.missing_packages(lambda program: program == "dot") == ["postgresql", "tmux"]
    assert debian.missing_packages(lambda program: True) == []
