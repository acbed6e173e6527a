"""Hypothesis strategies of SOP documents: valid ones of every kind and shape, and broken ones.

`sop_documents()` gives plain data, `sop_texts()` the same as YAML in various styles,
`broken_texts()` texts that are mostly wrong, in the ways people and machines get them wrong.
"""

from __future__ import annotations

import copy
import json
from typing import Any

import yaml
from hypothesis import strategies as st

from airflow_sop_provider.sop.scalars import Ambiguous, plain_scalar

__all__ = ["broken_texts", "dump", "needs_maps", "sop_documents", "sop_texts", "step_states"]

KINDS = ("tool", "compute", "decision", "agent", "approval", "command")
WORDS = ("history", "score", "judge", "freeze", "report", "collect", "verify", "notify", "archive", "close")
SOURCES = {"vendors": ["get_vendor", "bank_history"], "ledger": ["read", "post/entry"]}


def _clear(text: str) -> bool:
    return (
        bool(text.strip()) and "{{" not in text and "{%" not in text and not isinstance(plain_scalar(text), Ambiguous)
    )


texts = st.text(st.characters(exclude_categories=["C", "Z"], include_characters=" "), min_size=1, max_size=30).filter(
    _clear
)
durations = st.builds("{}{}".format, st.integers(1, 90), st.sampled_from("smhd"))
json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**9), 10**9)
    | st.floats(-1e6, 1e6, width=32).map(lambda x: round(x, 3))
    | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)
resources = st.fixed_dictionaries(
    {},
    optional={
        "cpu": st.sampled_from(["250m", "1", "0.5", 2, 0.25]),
        "memory": st.sampled_from(["64Mi", "256Mi", 1000000]),
        "max_memory": st.sampled_from(["1Gi", "2G"]),
        "ephemeral_storage": st.just("1Gi"),
        "gpu": st.integers(1, 4),
        "network": st.just("10M"),
    },
)
schemas = st.sampled_from(
    [
        {"type": "object"},
        {"type": "object", "required": ["x"], "properties": {"x": {"type": ["integer", "null"]}}},
        {"anyOf": [{"type": "object"}, {"type": "array", "items": {"type": "string"}, "minItems": 0}]},
        {
            "$defs": {"name": {"type": "string", "pattern": "^[a-z]*$"}},
            "additionalProperties": {"$ref": "#/$defs/name"},
        },
    ]
)
inputs = st.dictionaries(
    st.from_regex(r"[a-z][a-zA-Z0-9_]{0,8}", fullmatch=True).filter(lambda name: name not in ("priority", "batch")),
    st.sampled_from(
        [
            {"type": "string", "pattern": "^V-[0-9]{6}$"},
            {"type": "integer", "minimum": 0, "default": 7},
            {"type": "array", "items": {"type": "string"}, "default": ["a"]},
            {"enum": ["a", "b"], "default": "b", "title": "Choice"},
            {"type": "boolean", "default": False, "description": "Whether."},
        ]
    ),
    max_size=3,
)


def needs_maps(min_size: int = 1, max_size: int = 9) -> st.SearchStrategy[dict[str, list[str]]]:
    """Prerequisites of each step of a graph without cycles, in an order that need not be topological."""

    @st.composite
    def build(draw: st.DrawFn) -> dict[str, list[str]]:
        ids = draw(st.lists(st.sampled_from(WORDS), min_size=min_size, max_size=max_size, unique=True))
        needs = {}
        for index, step in enumerate(ids):
            needs[step] = draw(st.lists(st.sampled_from(ids[:index]), unique=True, max_size=3)) if index else []
        return {step: needs[step] for step in draw(st.permutations(ids))}

    return build()


step_states = st.sampled_from(["pending", "running", "succeeded", "failed", "skipped"])


def _ancestors(needs: dict[str, list[str]], step: str) -> list[str]:
    seen: list[str] = []
    stack = list(needs[step])
    while stack:
        need = stack.pop()
        if need not in seen:
            seen.append(need)
            stack += needs[need]
    return seen


@st.composite
def _expressions(draw: st.DrawFn, known: list[dict[str, Any]], names: list[str], item: bool) -> str:
    choices = ["1 + 1", "execution.run_id | length", "range(3) | sum"]
    choices += [f"inputs.{name} | string | length" for name in names]
    choices += ["item | string | length"] if item else []
    for step in known:
        read = f"steps.{step['id']}"
        if "for_each" in step:
            choices.append(f"{read} | length")
        elif "compute" in step:
            choices.append(f"{read}.{next(iter(step['compute']))}")
        elif "decision" in step:
            choices.append(f"1 if {read}.choice == 'clear' else 0")
        else:
            choices += [f"{read}.x | default(0)", f"1 if {read} is defined else 2"]
    return draw(st.sampled_from(choices))


@st.composite
def _work(draw: st.DrawFn, kind: str, expression: st.SearchStrategy[str]) -> dict[str, Any]:
    tools = [f"{source}.{tool}" for source, listed in SOURCES.items() for tool in listed]
    template = st.builds(
        "{}{{{{ {} }}}}{}".format, st.sampled_from(["", "n = "]), expression, st.sampled_from(["", "!"])
    )
    if kind == "tool":
        arguments = st.dictionaries(texts, json_values | template, max_size=3)
        return {
            "tool": draw(st.sampled_from(tools)),
            **draw(st.fixed_dictionaries({}, optional={"arguments": arguments})),
        }
    if kind == "compute":
        return {"compute": draw(st.dictionaries(st.sampled_from(["total", "Share", "n_1"]), expression, min_size=1))}
    if kind == "decision":
        options = {"clear": draw(texts), "suspicious": draw(texts)}
        rules = ["'clear' if 1 < 2 else ask", "ask", "'suspicious'"]
        extra = st.fixed_dictionaries({}, optional={"rule": st.sampled_from(rules), "guidance": texts | template})
        return {"decision": {"question": draw(texts | template), "options": options, **draw(extra)}}
    if kind == "agent":
        listed = st.lists(st.sampled_from(tools), max_size=2)
        return {"agent": {"instruction": draw(texts | template), "tools": draw(listed)}}
    if kind == "approval":
        extra = st.fixed_dictionaries({}, optional={"not_by": st.just("requester"), "quorum": st.integers(1, 3)})
        return {"approval": {"by": draw(st.lists(texts, min_size=1, max_size=2)), **draw(extra)}}
    command = st.fixed_dictionaries(
        {"command": st.lists(texts, min_size=1, max_size=2)},
        optional={
            "image": st.just("python:3.12-slim"),
            "args": st.lists(texts | template, max_size=2),
            "env": st.dictionaries(st.sampled_from(["A", "B_1"]), texts | template),
        },
    )
    return {"command": draw(command)}


@st.composite
def sop_documents(draw: st.DrawFn, kinds: tuple[str, ...] = KINDS, max_steps: int = 7) -> dict[str, Any]:
    """Return valid SOP documents as plain data.

    :param kinds: kinds of steps that may occur.
    """
    needs = draw(needs_maps(max_size=max_steps))
    declared = draw(inputs)
    steps: dict[str, dict[str, Any]] = {}
    for step_id in sorted(needs, key=lambda name: len(_ancestors(needs, name))):
        mapped = draw(st.booleans()) and draw(st.booleans())
        known = [steps[name] for name in _ancestors(needs, step_id)]
        expression = _expressions(known, list(declared), mapped)
        kind = draw(st.sampled_from(kinds))
        common = st.fixed_dictionaries(
            {},
            optional={
                "title": texts,
                "timeout": durations,
                "resources": resources,
                "retry": st.fixed_dictionaries({"max_retries": st.integers(0, 10)}),
                "outputs": schemas,
                "guidance": texts,
                "when": expression.map("({}) == 1".format),
            },
        )
        step = {"id": step_id, **draw(common), **draw(_work(kind, expression))}
        if needs[step_id] or draw(st.booleans()):
            step["needs"] = needs[step_id]
        if mapped:
            step["for_each"] = "[1, 2, 3]"
        steps[step_id] = step
    document: dict[str, Any] = {
        "sop": draw(st.from_regex(r"[a-z]([a-z0-9-]{0,20}[a-z0-9])?", fullmatch=True)),
        "version": draw(st.sampled_from(["1.0.0", "2.1.0-rc.1", "2024-06"])),
        "title": draw(texts),
        "inputs": declared,
        "data_sources": {name: {"server": f"{name}-server", "tools": tools} for name, tools in SOURCES.items()},
        "steps": [steps[name] for name in needs],
        **draw(_heads),
    }
    rollback = draw(st.lists(st.sampled_from(sorted(steps)), unique=True, max_size=2))
    if rollback and draw(st.booleans()):
        document["rollback"] = [{"id": f"undo_{name}", "after": name, "tool": "vendors.undo"} for name in rollback]
    document["mode"] = draw(st.sampled_from(_modes(document)))
    return document


_heads = st.fixed_dictionaries(
    {},
    optional={
        "apiVersion": st.just("sop/v1"),
        "control": texts,
        "control_type": texts,
        "owner": texts,
        "priority": st.sampled_from(["critical", "high", "normal", "low"]),
        "expected_duration": durations,
        "agent": st.fixed_dictionaries(
            {"model": texts}, optional={"temperature": st.just(0.5), "max_tokens": st.just(9)}
        ),
        "resources": resources,
        "schedule": st.fixed_dictionaries(
            {"cron": st.sampled_from(["0 1 * * 1-5", "*/5 * * * *", "@daily"])},
            optional={"timezone": st.just("Europe/Berlin"), "window": durations, "catchup": st.booleans()},
        ),
        "escalation": st.lists(
            st.fixed_dictionaries({"notifier": st.just("a.b.Notifier"), "kwargs": st.dictionaries(texts, json_values)}),
            max_size=2,
        ),
        "guidance": texts,
    },
)


def _modes(document: dict[str, Any]) -> list[str]:
    """Return the modes in which the document is valid, by the words of the design rather than our code."""
    steps = document["steps"]
    dependents = [need for step in steps for need in step.get("needs", [])]
    alone = (
        all(len(step.get("needs", [])) <= 1 for step in steps)
        and len(dependents) == len(set(dependents))
        and not any(key in step for step in steps for key in ("when", "for_each", "approval", "command"))
        and not document.get("rollback")
    )
    modes = ["system_design"]
    if alone:
        modes.append("agent_centric")
    if alone or dependents:
        modes.append("auto")
    return modes


def dump(document: dict[str, Any], style: str = "block") -> str:
    """Return a document as YAML: `block`, `flow`, `quoted` or `json`."""
    if style == "json":
        return json.dumps(document, indent=1, ensure_ascii=False)
    return yaml.safe_dump(
        document,
        sort_keys=False,
        allow_unicode=True,
        default_flow_style=True if style == "flow" else None if style == "mixed" else False,
        default_style='"' if style == "quoted" else None,
    )


def sop_texts(**options: Any) -> st.SearchStrategy[str]:
    """Return valid SOP documents as YAML texts; options as for `sop_documents`."""
    return st.builds(dump, sop_documents(**options), st.sampled_from(["block", "flow", "mixed", "quoted", "json"]))


def _places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    found = [path] if path else []
    pairs = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in pairs:
        found += _places(item, (*path, key))
    return found


@st.composite
def _broken_documents(draw: st.DrawFn) -> dict[str, Any]:
    document = copy.deepcopy(draw(sop_documents()))
    for _ in range(draw(st.integers(1, 3))):
        path = draw(st.sampled_from(_places(document) or [("sop",)]))
        parent: Any = document
        for part in path[:-1]:
            parent = parent[part]
        how = draw(st.sampled_from(["drop", "rename", "retype", "copy", "cycle", "garble"]))
        if how == "drop":
            del parent[path[-1]]
        elif how == "rename" and isinstance(parent, dict):
            parent[draw(st.sampled_from([f"{path[-1]}s", str(path[-1])[1:], "steps", "", "x y"]))] = parent.pop(
                path[-1]
            )
        elif how == "retype":
            parent[path[-1]] = draw(json_values)
        elif how == "copy" and isinstance(parent, list):
            parent.append(copy.deepcopy(parent[path[-1]]))
        elif how == "garble":
            parent[path[-1]] = draw(st.sampled_from(["{{", "{{ x", "{% if %}", "steps.x", "1 +", "a.b", "(" * 50, "@"]))
        elif isinstance(document.get("steps"), list):
            steps = [step for step in document["steps"] if isinstance(step, dict) and isinstance(step.get("id"), str)]
            if steps:
                one, other = draw(st.sampled_from(steps)), draw(st.sampled_from(steps))
                one["needs"], other["needs"] = [other["id"]], [one["id"]]
    return document


@st.composite
def broken_texts(draw: st.DrawFn) -> str:
    """Return texts most of which are no valid SOP: keys dropped, renamed and retyped, cycles, stray characters."""
    text = dump(draw(_broken_documents()), draw(st.sampled_from(["block", "flow", "quoted", "json"])))
    for _ in range(draw(st.integers(0, 2))):
        start = draw(st.integers(0, len(text)))
        end = min(len(text), start + draw(st.integers(0, 8)))
        insert = draw(
            st.text(max_size=6) | st.sampled_from(["\t", ": ", "- ", "&a ", "*a ", "!x ", "\n---\n", "<<: ", "'"])
        )
        text = text[:start] + insert + text[end:]
    return text
