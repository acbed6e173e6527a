"""The SOP language: from a YAML file to a checked procedure with a graph and a mode.

Pure Python, no Airflow, no ADK. Names are imported when they are first used, so that importing
this package costs next to nothing; what it exports is its public surface.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from airflow_sop_provider.sop.expressions import ASK, ExpressionError, evaluate, references, render
    from airflow_sop_provider.sop.folder import check_folder
    from airflow_sop_provider.sop.formulas import step_reads
    from airflow_sop_provider.sop.graph import GraphError, StepState, WorkflowGraph
    from airflow_sop_provider.sop.loaded import CheckResult, LoadedSop
    from airflow_sop_provider.sop.loader import check_file, check_text, load_sop
    from airflow_sop_provider.sop.mode import Incompatibility, ModeChoice, choose_mode
    from airflow_sop_provider.sop.mode_change import set_mode
    from airflow_sop_provider.sop.models import RollbackStep, Sop, Step
    from airflow_sop_provider.sop.problems import Problem, SopError
    from airflow_sop_provider.sop.schema import json_schema
    from airflow_sop_provider.sop.touch import step_sources
    from airflow_sop_provider.sop.values import value_errors

_HOME = {
    "ASK": "expressions", "ExpressionError": "expressions", "evaluate": "expressions", "references": "expressions",
    "render": "expressions", "check_folder": "folder", "GraphError": "graph", "StepState": "graph",
    "WorkflowGraph": "graph", "CheckResult": "loaded", "LoadedSop": "loaded", "check_file": "loader",
    "check_text": "loader", "load_sop": "loader", "Incompatibility": "mode", "ModeChoice": "mode",
    "choose_mode": "mode", "set_mode": "mode_change", "RollbackStep": "models", "Sop": "models", "Step": "models",
    "Problem": "problems", "SopError": "problems", "step_reads": "formulas", "json_schema": "schema",
    "step_sources": "touch", "value_errors": "values",
}  # fmt: skip

__all__ = [
    "ASK",
    "CheckResult",
    "ExpressionError",
    "GraphError",
    "Incompatibility",
    "LoadedSop",
    "ModeChoice",
    "Problem",
    "RollbackStep",
    "Sop",
    "SopError",
    "Step",
    "StepState",
    "WorkflowGraph",
    "check_file",
    "check_folder",
    "check_text",
    "choose_mode",
    "evaluate",
    "json_schema",
    "load_sop",
    "references",
    "render",
    "set_mode",
    "step_reads",
    "step_sources",
    "value_errors",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
