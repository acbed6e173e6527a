"""An SOP may touch what its `data_sources` name, nothing else."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from airflow_sop_provider.sop.checks.document import Document, StepView
from airflow_sop_provider.sop.problems import nearest
from airflow_sop_provider.sop.yaml_nodes import Path

__all__ = ["check_tools"]


def check_tools(document: Document) -> None:
    """Report tools of unknown data sources, and tools their data source does not list.

    A rollback step's tool need not be listed: naming it there grants it to that step alone, and keeps it
    out of the reach of every agent of the SOP.
    """
    for step in [*document.steps, *document.rollback]:
        for path, tool in _tools(step):
            _check(document, step, path, tool)


def _tools(step: StepView) -> Iterator[tuple[Path, str]]:
    tool = step.data.get("tool")
    if isinstance(tool, str):
        yield (*step.path, "tool"), tool
    agent = step.data.get("agent")
    listed = agent.get("tools") if isinstance(agent, Mapping) else None
    for index, name in enumerate(listed if isinstance(listed, list) else []):
        if isinstance(name, str):
            yield (*step.path, "agent", "tools", index), name


def _check(document: Document, step: StepView, path: Path, reference: str) -> None:
    source, dot, tool = reference.partition(".")
    sources = document.mapping("data_sources")
    if not dot:
        return  # its pattern is broken, which the model says
    if source not in sources:
        match = nearest(source, sources)
        hint = f"did you mean `{match}.{tool}`?" if match else f"declare `{source}` under `data_sources`"
        document.report("unknown-source", f"{step.name} uses the data source `{source[:80]}`, which is not declared",
                        path, hint)  # fmt: skip
        return
    listed = sources[source].get("tools") if isinstance(sources[source], Mapping) else None
    if isinstance(listed, list) and tool not in listed and not step.is_rollback:
        match = nearest(tool, [name for name in listed if isinstance(name, str)])
        hint = f"did you mean `{source}.{match}`?" if match else f"add `{tool}` to the tools of `{source}`"
        document.report("unknown-tool", f"{step.name} uses `{reference[:160]}`, which `data_sources` does not allow",
                        path, hint)  # fmt: skip
