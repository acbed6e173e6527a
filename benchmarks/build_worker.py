"""Measures one contender of the benchmark `build`, in a process of its own; prints JSON.

Run as ``python -m benchmarks.build_worker CONTENDER FOLDER``. It needs Airflow and the contender, nothing else of
the benchmarks' environment, so that dag-factory can stay in an environment of its own.
"""

from __future__ import annotations

import gc
import importlib
import json
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

__all__ = ["WARM_UP", "main"]

WARM_UP = 3
"""Documents built before the measurement: their cost is that of imports."""

Build = Callable[[Path], Any]


def main() -> None:
    """Measure and print."""
    contender, folder = sys.argv[1], Path(sys.argv[2])
    paths = sorted(path for path in folder.iterdir() if path.is_file())
    result = _CONTENDERS[contender](paths)
    sys.stdout.write("\n" + json.dumps(result) + "\n")


def _sops(paths: list[Path]) -> dict[str, float]:
    from airflow_sop_provider.sop import load_sop
    from dag_factory import build_dag, dag_of_file

    # Loading and building apart, on documents of their own: none is seen twice.
    half = WARM_UP + (len(paths) - WARM_UP) // 2
    result = _measure(dag_of_file, paths[:half])
    apart = paths[half:]
    load = _seconds(lambda: [load_sop(path) for path in apart]) / len(apart)
    loaded = [load_sop(path) for path in apart]
    build = _seconds(lambda: [build_dag(one) for one in loaded]) / len(apart)
    return {**result, "load": load, "build": build, "pass": _unchanged_pass(paths)}


def _unchanged_pass(paths: list[Path]) -> float:
    """Return CPU seconds per document of a bundle's look at a folder in which nothing changed."""
    from airflow_sop_provider.bundles.documents import DocumentFolder
    from airflow_sop_provider.bundles.stubs import StubFolder

    documents, stubs = DocumentFolder(paths[0].parent), StubFolder(paths[0].parent.parent / "stubs")
    stubs.write(documents.survey(stubs.owners))
    passes = 5

    def look() -> None:
        for _ in range(passes):
            if stubs.write(documents.survey(stubs.owners)):
                raise AssertionError("a stub was written although its document had not changed")

    return _seconds(look) / passes / len(paths)


def _dag_factory(paths: list[Path]) -> dict[str, float]:
    load_yaml_dags = importlib.import_module("dagfactory").load_yaml_dags  # it has no type information

    def build(path: Path) -> Any:
        found: dict[str, Any] = {}
        load_yaml_dags(globals_dict=found, config_filepath=str(path))
        return next(iter(found.values()))

    return _measure(build, paths)


def _python(paths: list[Path]) -> dict[str, float]:
    def build(path: Path) -> Any:
        names: dict[str, Any] = {}
        exec(compile(path.read_text(), str(path), "exec"), names)
        return names["dag"]

    return _measure(build, paths)


def _measure(build: Build, paths: list[Path]) -> dict[str, float]:
    for path in paths[:WARM_UP]:
        _serialize([build(path)])
    rest = paths[WARM_UP:]
    # what the imports left behind is not walked again while documents are measured
    gc.collect()
    gc.freeze()
    dags: list[Any] = []
    cold = _seconds(lambda: dags.extend(build(path) for path in rest))
    again = _seconds(lambda: [build(path) for path in rest])
    serialize = _seconds(lambda: _serialize(dags))
    if any(len(dag.tasks) != 10 for dag in dags):
        raise AssertionError(f"{rest[0]} was not built with ten tasks: {dags[0].tasks}")
    return {"cold": cold / len(rest), "again": again / len(rest), "serialize": serialize / len(rest)}


def _serialize(dags: Iterable[Any]) -> None:
    from airflow.serialization.serialized_objects import DagSerialization

    for dag in dags:
        DagSerialization.to_dict(dag)


def _seconds(work: Callable[[], object]) -> float:
    before = time.process_time()
    work()
    return time.process_time() - before


_CONTENDERS: dict[str, Callable[[list[Path]], dict[str, float]]] = {
    "sop": _sops,
    "dag-factory": _dag_factory,
    "python": _python,
}

if __name__ == "__main__":
    main()
