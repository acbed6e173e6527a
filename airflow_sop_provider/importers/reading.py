"""From a file of others to an SOP, by format."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from airflow_sop_provider.importers.assemble import assemble
from airflow_sop_provider.importers.cacao import read_cacao
from airflow_sop_provider.importers.flow import Flow, Imported, ImportFailedError
from airflow_sop_provider.importers.ssm import read_ssm
from airflow_sop_provider.importers.xsoar import read_xsoar
from airflow_sop_provider.sop.problems import Problem
from airflow_sop_provider.sop.source import decode
from airflow_sop_provider.sop.yaml_nodes import parse, to_data

__all__ = ["FORMATS", "import_file", "import_text"]

FORMATS: dict[str, Callable[[dict[str, Any], str], Flow]] = {"ssm": read_ssm, "xsoar": read_xsoar, "cacao": read_cacao}
"""Name of a format -> its reader."""

_SIMPLE = frozenset({"duplicate-key", "yaml-syntax"})
"""Problems of YAML that make a document of others unreadable; what else an SOP may not have, they may."""


def import_file(path: Path, form: str, name: str | None = None) -> Imported:
    """Return the SOP made of a file, and the report.

    :param form: one of `FORMATS`.
    :param name: id of the SOP; of the file's name if left out.
    :raises ImportFailedError: it cannot become an SOP.
    :raises OSError: it cannot be read.
    """
    return import_text(path.read_bytes(), form, name or path.stem, str(path))


def import_text(content: bytes, form: str, name: str, file: str = "<text>") -> Imported:
    """Return the SOP made of a document; see `import_file`."""
    document = _document(content, file)
    try:
        return assemble(FORMATS[form](document, name))
    except ImportFailedError as error:
        raise ImportFailedError(f"{file}: {error}") from error


def _document(content: bytes, file: str) -> dict[str, Any]:
    source = decode(content, file)
    if isinstance(source, Problem):
        raise ImportFailedError(source.render())
    if source.text.lstrip().startswith("{"):
        try:
            data = json.loads(source.text)
            if isinstance(data, dict):
                return data
        except json.JSONDecodeError:
            pass  # YAML, too, may begin so, and its reader tells the place
        except RecursionError:
            raise ImportFailedError(f"{file}: values are nested too deep") from None
    root, problems = parse(source)
    bad = [problem for problem in problems if root is None or problem.code in _SIMPLE]
    if root is None or bad:
        raise ImportFailedError("\n\n".join(problem.render() for problem in bad))
    data = to_data(root)
    assert isinstance(data, dict)
    return data
