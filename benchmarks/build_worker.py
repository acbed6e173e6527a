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
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

__all__ = ["BATCH", "WARM_UP", "Figures", "main"]

WARM_UP = 3
"""Documents built before the measurement: their cost is that of imports."""

BATCH = 4
"""Documents that are measured together: so few that most batches fall between two moments in which a host that
shares its cores stops this machine, which the kernel charges to whoever runs; so many that the collector is in."""

_PASSES = 15

T = TypeVar("T")
Build = Callable[[Path], Any]
Figures = dict[str, list[float]]
"""CPU seconds per document, one number for each batch."""


def main() -> None:
    """Measure and print."""
    contender, folder = sys.argv[1], Path(sys.argv[2])
    paths = sorted(path for path in folder.iterdir() if path.is_file())
    result = _CONTENDERS[contender](paths)
    sys.stdout.write("\n" + json.dumps(result) + "\n")


def _sops(paths: list[Path]) -> Figures:
    from airflow_sop_provider.sop import load_sop
    from dag_factory import build_dag, dag_of_file

    # Loading and building apart, on documents of their own: none is seen twice.
    half = WARM_UP + (len(paths) - WARM_UP) // 2
    result = _measure(dag_of_file, paths[:half])
    apart = paths[half:]
    loaded: list[Any] = []
    load = _batches(lambda path: loaded.append(load_sop(path)), apart)
    return {**result, "load": load, "build": _batches(build_dag, loaded), "pass": _unchanged_passes(paths)}


def _unchanged_passes(paths: list[Path]) -> list[float]:
    """Return CPU seconds per document of a bundle's looks at a folder in which nothing changed."""
    from airflow_sop_provider.bundles.documents import DocumentFolder
    from airflow_sop_provider.bundles.stubs import StubFolder

    documents, stubs = DocumentFolder(paths[0].parent), StubFolder(paths[0].parent.parent / "stubs")
    stubs.write(documents.survey(stubs.owners))

    def look() -> None:
        if stubs.write(documents.survey(stubs.owners)):
            raise AssertionError("a stub was written although its document had not changed")

    return [_seconds(look) / len(paths) for _ in range(_PASSES)]


def _dag_factory(paths: list[Path]) -> Figures:
    load_yaml_dags = importlib.import_module("dagfactory").load_yaml_dags  # it has no type information

    def build(path: Path) -> Any:
        found: dict[str, Any] = {}
        load_yaml_dags(globals_dict=found, config_filepath=str(path))
        return next(iter(found.values()))

    return _measure(build, paths)


def _python(paths: list[Path]) -> Figures:
    def build(path: Path) -> Any:
        names: dict[str, Any] = {}
        exec(compile(path.read_text(), str(path), "exec"), names)
        return names["dag"]

    return _measure(build, paths)


def _measure(build: Build, paths: list[Path]) -> Figures:
    for path in paths[:WARM_UP]:
        _serialize(build(path))
    rest = paths[WARM_UP:]
    # what the imports left behind is not walked again while documents are measured
    gc.collect()
    gc.freeze()
    dags: list[Any] = []
    cold = _batches(lambda path: dags.append(build(path)), rest)
    again = _batches(build, rest)
    serialize = _batches(_serialize, dags)
    if any(len(dag.tasks) != 10 for dag in dags):
        raise AssertionError(f"{rest[0]} was not built with ten tasks: {dags[0].tasks}")
    return {"cold": cold, "again": again, "serialize": serialize}


def _serialize(dag: Any) -> None:
    from airflow.serialization.serialized_objects import DagSerialization

    DagSerialization.to_dict(dag)


def _batches(work: Callable[[T], object], items: Sequence[T]) -> list[float]:
    def each(batch: Iterable[T]) -> None:
        for item in batch:
            work(item)

    batches = [items[first : first + BATCH] for first in range(0, len(items), BATCH)]
    return [_seconds(partial(each, batch)) / len(batch) for batch in batches]


def _seconds(work: Callable[[], object]) -> float:
    before = time.process_time()
    work()
    return time.process_time() - before


_CONTENDERS: dict[str, Callable[[list[Path]], Figures]] = {
    "sop": _sops,
    "dag-factory": _dag_factory,
    "python": _python,
}

if __name__ == "__main__":
    main()
