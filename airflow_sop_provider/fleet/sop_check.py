"""An SOP held against the servers it names: what the language alone cannot know.

The language knows which tools an SOP may call; only the servers know which there are and what they take. Asked before
an SOP is merged, a misspelt tool or argument is an error at its place in the file, instead of a failed execution.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from airflow_sop_provider.sop.checks.document import Document, StepView
from airflow_sop_provider.sop.loaded import CheckResult, LoadedSop
from airflow_sop_provider.sop.problems import nearest
from airflow_sop_provider.sop.source import Source
from airflow_sop_provider.sop.values import value_errors
from airflow_sop_provider.sop.yaml_nodes import parse, to_data

__all__ = ["Fleet", "Tools", "check_against", "servers_of"]

Tools = Mapping[str, Mapping[str, Any]]
"""Tool -> its definition, with ``inputSchema``."""

Fleet = Mapping[str, Tools | str]
"""Server -> its tools, or why it cannot be asked."""


def servers_of(loaded: LoadedSop) -> set[str]:
    """Return the servers that an SOP names."""
    return {source.server for source in loaded.sop.data_sources.values()}


def check_against(result: CheckResult, fleet: Fleet) -> CheckResult:
    """Return what checking a file gave, with the problems that its servers add.

    :param fleet: every server of the fleet; of those that the SOP names no more is known than is said here.
    """
    if result.loaded is None:
        return result
    source = Source(result.loaded.text, result.file)
    root, _ = parse(source)
    if root is None:  # it was valid a moment ago
        return result
    document = Document(to_data(root), root, source)
    known = {name: _check_source(document, name, fleet) for name in result.loaded.sop.data_sources}
    for step in [*document.steps, *document.rollback]:
        _check_call(document, step, known)
    problems = tuple(sorted(document.problems, key=lambda problem: (problem.line, problem.column)))
    return CheckResult(result.file, None, problems) if problems else result


def _check_source(document: Document, name: str, fleet: Fleet) -> Tools:
    """Report what is wrong with a data source; return the tools of its server."""
    declared = document.mapping("data_sources")[name]
    server = declared["server"]
    place = ("data_sources", name, "server")
    tools = fleet.get(server)
    if tools is None:
        match = nearest(server, fleet)
        hint = f"did you mean `{match}`?" if match else "declare it in fleet.yaml, or as a connection of type `mcp`"
        document.report("unknown-server", f"the fleet has no server `{server}`", place, hint)
        return {}
    if isinstance(tools, str):
        document.report("server-unavailable", f"the server `{server}` cannot be asked: {tools}", place,
                        "`sop fleet test` says more; check again when it answers")  # fmt: skip
        return {}
    for index, tool in enumerate(declared["tools"]):
        _require(document, server, tools, tool, ("data_sources", name, "tools", index))
    return tools


def _require(document: Document, server: str, tools: Tools, tool: str, place: tuple[str | int, ...]) -> None:
    if tool in tools:
        return
    match = nearest(tool, tools)
    hint = f"did you mean `{match}`?" if match else f"`sop fleet tools {server}` lists what there is"
    document.report("unknown-tool", f"the server `{server}` has no tool `{tool}`", place, hint)


def _check_call(document: Document, step: StepView, known: Mapping[str, Tools]) -> None:
    reference = step.data.get("tool")
    if not isinstance(reference, str):
        return
    source, _, tool = reference.partition(".")
    tools = known.get(source) or {}
    definition = tools.get(tool)
    if definition is None:
        listed = document.mapping("data_sources")[source]
        if tools and tool not in listed["tools"]:  # of a rollback step; the others are reported where they are listed
            _require(document, listed["server"], tools, tool, (*step.path, "tool"))
        return
    _check_arguments(document, step, definition.get("inputSchema") or {})


def _check_arguments(document: Document, step: StepView, schema: Mapping[str, Any]) -> None:
    arguments = step.data.get("arguments") or {}
    properties = schema.get("properties") or {}
    place = (*step.path, "arguments")
    for name, value in arguments.items():
        if name not in properties:
            # a tool that says nothing about others does not read them: the name is a slip
            if schema.get("additionalProperties", False) is False:
                _report_unknown(document, step, name, properties)
        elif not _has_expression(value):
            for error in value_errors(value, {**_definitions(schema), **properties[name]}):
                message = f"{step.name} gives `{name}` a value that the tool does not take: {error}"
                document.report("wrong-argument", message, (*place, name))
    for name in schema.get("required") or ():
        if name not in arguments:
            where = place if arguments else (*step.path, "tool")
            document.report("missing-argument", f"{step.name} lacks the argument `{name}`, which the tool needs", where,
                            _about(name, properties), key=bool(arguments))  # fmt: skip


def _report_unknown(document: Document, step: StepView, name: str, properties: Mapping[str, Any]) -> None:
    match = nearest(name, properties)
    hint = f"did you mean `{match}`?" if match else f"it takes {', '.join(f'`{one}`' for one in properties) or 'none'}"
    message = f"the tool of {step.name} has no argument `{name}`"
    document.report("unknown-argument", message, (*step.path, "arguments", name), hint, key=True)


def _about(name: str, properties: Mapping[str, Any]) -> str | None:
    schema = properties.get(name) or {}
    words = [str(schema[key]) for key in ("type", "description") if schema.get(key)]
    return f"`{name}`: {', '.join(words)}" if words else None


def _definitions(schema: Mapping[str, Any]) -> dict[str, Any]:
    return {key: schema[key] for key in ("$defs", "definitions") if key in schema}


def _has_expression(value: Any) -> bool:
    return any("{{" in text for text in _texts(value))


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for one in value.values():
            yield from _texts(one)
    elif isinstance(value, list):
        for one in value:
            yield from _texts(one)
