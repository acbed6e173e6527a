"""From files to DAGs, for DAG files.

A document that was turned into a DAG is not turned into one again by the same process as long as it
does not change: who parses a folder over and over pays for reading it, not for building it.
"""

from __future__ import annotations

import hashlib
import stat
from collections import OrderedDict
from collections.abc import MutableMapping
from pathlib import Path
from typing import Any

from airflow_sop_provider.sop import SopError, check_folder, load_sop
from airflow_sop_provider.sop.source import MAX_BYTES
from dag_factory.build import build_dag
from dag_factory.sop_dag import RefusedSop, SopDag, SopImportError

__all__ = ["dag_of_file", "load_sops", "refuse"]

_REMEMBERED = 2048
_built: OrderedDict[tuple[str, str], SopDag] = OrderedDict()


def dag_of_file(path: str | Path, *, show_document: bool = False) -> SopDag | RefusedSop:
    """Return the DAG of an SOP file; of an invalid one a DAG whose import fails with the problems.

    :param show_document: whether the Code tab of Airflow's UI shows the document rather than the DAG file.
    """
    path = Path(path)
    remembered = _built.get((str(path), _digest(path)))
    if remembered is None:
        try:
            loaded = load_sop(path)
        except SopError as error:
            return refuse(str(error))
        remembered = _remember((str(path), loaded.sha256), build_dag(loaded))
    remembered.document = path.absolute() if show_document else None
    return remembered


def load_sops(folder: str | Path, namespace: MutableMapping[str, Any]) -> list[str]:
    """Put the DAGs of all SOPs under a folder into a DAG file's ``globals()``; return their ids.

    One invalid file does not keep the others from loading: all problems together are the DAG file's
    one import error.

    :param folder: absolute, or relative to the DAG file.
    :raises SopImportError: there is no such folder.
    """
    folder = _beside_caller(Path(folder), namespace)
    if not folder.is_dir():
        raise SopImportError(f"there is no folder {folder}; give load_sops the folder of your SOP documents")
    problems: list[str] = []
    ids: list[str] = []
    for result in check_folder(folder):
        if result.loaded is None:
            problems.append(str(SopError(result.problems)))
            continue
        dag = build_dag(result.loaded)
        namespace[f"sop_{dag.dag_id}"] = dag
        ids.append(dag.dag_id)
    if problems:
        namespace["sop_refused"] = refuse("\n\n".join(problems))
    return ids


def refuse(message: str) -> RefusedSop:
    """Return a DAG whose import fails with ``message`` and nothing else."""
    refused = RefusedSop("refused", schedule=None)
    refused.message = message
    return refused


def _digest(path: Path) -> str:
    """Return the digest by which a document is remembered, "" for what cannot be one: `load_sop` says why."""
    try:
        found = path.stat()
        if not stat.S_ISREG(found.st_mode) or found.st_size > MAX_BYTES:
            return ""
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError:
        return ""


def _remember(key: tuple[str, str], dag: SopDag) -> SopDag:
    _built[key] = dag
    if len(_built) > _REMEMBERED:
        _built.popitem(last=False)
    return dag


def _beside_caller(folder: Path, namespace: MutableMapping[str, Any]) -> Path:
    return folder if folder.is_absolute() else Path(namespace.get("__file__", ".")).absolute().parent / folder
