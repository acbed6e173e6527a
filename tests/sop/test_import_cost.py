"""Importing the language pulls in nothing heavy, and loading an SOP no more than it needs."""

import subprocess
import sys

import pytest

HEAVY = (
    "airflow",
    "google",
    "google.adk",
    "jsonschema",
    "croniter",
    "ruamel",
    "kubernetes",
    "mcp",
    "fastapi",
    "sqlalchemy",
)


def _modules_after(code: str) -> set[str]:
    script = f"import sys\n{code}\nprint(*sys.modules)"
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return set(run.stdout.split())


def test_importing_the_package_imports_no_library():
    modules = _modules_after("import airflow_sop_provider.sop")
    assert not modules & {*HEAVY, "pydantic", "yaml", "jinja2"}


@pytest.mark.parametrize("names", ["load_sop, check_text, choose_mode", "evaluate, render", "Sop, WorkflowGraph"])
def test_using_it_imports_only_what_it_needs(names: str):
    assert not _modules_after(f"from airflow_sop_provider.sop import {names}") & set(HEAVY)


def test_the_models_need_no_jinja():
    assert "jinja2" not in _modules_after("from airflow_sop_provider.sop import Sop, WorkflowGraph, choose_mode")


def test_every_exported_name_is_there():
    import airflow_sop_provider.sop as sop

    assert all(getattr(sop, name) is not None for name in sop.__all__)
    with pytest.raises(AttributeError, match="nothing"):
        sop.nothing  # noqa: B018
