"""Hypothesis strategies of SOP documents: valid ones of every kind and shape, and broken ones.

`sop_documents()` gives plain data, `sop_texts()` the same as YAML in various styles,
`broken_texts()` texts that are mostly wrong, in the ways people and machines get them wrong.

Hypothesis draws the shape (graph, kinds, mode), so that a failure shrinks to a small graph; what
decorates it comes from one drawn seed, as drawing each of hundreds of values costs more than the
code under test.
"""

from __future__ import annotations

import copy
import json
from random import Random
from typing import Any

import yaml
from hypothesis import strategies as st

__all__ = ["broken_texts", "dump", "json_values", "needs_maps", "sop_documents", "sop_texts", "step_states"]

KINDS = ("tool", "compute", "decision", "agent", "approval", "command")
WORDS = ("history", "score", "judge", "freeze", "report", "collect", "verify", "notify", "archive", "close")
SOURCES = {"vendors": ["get_vendor", "bank_history"], "ledger": ["read", "post/entry"]}
TOOLS = [f"{source}.{tool}" for source, listed in SOURCES.items() for tool in listed]
PIECES = (
    "word", "Ünï", "日本", "🦄", "- dash", "? q", ": ", " #no comment", "{", "}", "[a]", "&x", "*y", "!z", "%d", "@h",
    "`", "'", '"', "\\", "|", ">", "true", "no", "~", "1.5", "2024-01-01", "012", "<<", "=", "...", "---", "a, b",
    "x: y", "%}",
)  # fmt: skip
SCHEMAS: tuple[dict[str, Any], ...] = (
    {"type": "object"},
    {"type": "object", "required": ["x"], "properties": {"x": {"type": ["integer", "null"]}}},
    {"anyOf": [{"type": "object"}, {"type": "array", "items": {"type": "string"}, "minItems": 0}]},
    {"$defs": {"name": {"type": "string", "pattern": "^[a-z]*$"}}, "additionalProperties": {"$ref": "#/$defs/name"}},
)
INPUTS: tuple[dict[str, Any], ...] = (
    {"type": "string", "pattern": "^V-[0-9]{6}$"},
    {"type": "integer", "minimum": 0, "default": 7},
    {"type": "array", "items": {"type": "string"}, "default": ["a"]},
    {"enum": ["a", "b"], "default": "b", "title": "Choice"},
    {"type": "boolean", "default": False, "description": "Whether."},
)

json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**9), 10**9) | st.sampled_from([0.5, -1e6, 1.25]) | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
step_states = st.sampled_from(["pending", "running", "succeeded", "failed", "skipped"])


def needs_maps(min_size: int = 1, max_size: int = 9) -> st.SearchStrategy[dict[str, list[str]]]:
    """Prerequisites of each step of a graph without cycles, in an order that need not be topological."""

    @st.composite
    def build(draw: st.DrawFn) -> dict[str, list[str]]:
        ids = WORDS[: draw(st.integers(min_size, max_size))]
        needs = {}
        for index, step in enumerate(ids):
            needs[step] = draw(st.lists(st.sampled_from(ids[:index]), unique=True, max_size=3)) if index else []
        return {step: needs[step] for step in draw(st.permutations(ids))}

    return build()


def _ancestors(needs: dict[str, list[str]], step: str) -> list[str]:
    seen: list[str] = []
    stack = list(needs[step])
    while stack:
        need = stack.pop()
        if need not in seen:
            seen.append(need)
            stack += needs[need]
    return seen


class _Decorator:
    """Fills a document's parts with valid values, all from one seed."""

    def __init__(self, random: Random) -> None:
        self.random = random

    def text(self) -> str:
        count = self.random.randint(1, 3)
        text = " ".join(self.random.choice(PIECES) for _ in range(count)).strip() or "x"
        return text if count > 1 else f"{text} x"

    def duration(self) -> str:
        return self.random.choice(["90s", "10m", "1h30m", "2d"])

    def value(self, depth: int = 2) -> Any:
        kind = self.random.randint(0, 7 if depth else 5)
        if kind == 6:
            return [self.value(depth - 1) for _ in range(self.random.randint(0, 2))]
        if kind == 7:
            return {self.text(): self.value(depth - 1) for _ in range(self.random.randint(0, 2))}
        return (None, True, 12, -2.5, self.text(), "")[kind]

    def some(self, options: dict[str, Any]) -> dict[str, Any]:
        """Return some of the options; a value that is a function is called."""
        chosen = {name: value for name, value in options.items() if self.random.random() < 0.35}
        return {name: value() if callable(value) else value for name, value in chosen.items()}

    def resources(self) -> dict[str, Any]:
        pick = self.random.choice
        return self.some(
            {
                "cpu": lambda: pick(["250m", "1", "0.5", 2, 0.25]),
                "memory": lambda: pick(["64Mi", "256Mi", 1000000]),
                "max_memory": lambda: pick(["1Gi", "2G"]),
                "ephemeral_storage": "1Gi",
                "gpu": 1,
                "network": "10M",
            }
        )

    def inputs(self) -> dict[str, Any]:
        names = self.random.sample(["vendor_id", "n", "List", "x9", "items"], self.random.randint(0, 3))
        return {name: self.random.choice(INPUTS) for name in names}

    def expression(self, known: list[dict[str, Any]], names: list[str], item: bool) -> str:
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
        return self.random.choice(choices)

    def common(self, expression: str) -> dict[str, Any]:
        return self.some(
            {
                "title": self.text,
                "timeout": self.duration,
                "resources": self.resources,
                "retry": lambda: {"max_retries": self.random.randint(0, 10)},
                "outputs": lambda: self.random.choice(SCHEMAS),
                "guidance": self.text,
                "when": f"({expression}) == 1",
            }
        )

    def work(self, kind: str, expression: str) -> dict[str, Any]:
        template = self.random.choice(["", "n = "]) + "{{ " + expression + " }}" + self.random.choice(["", "!"])
        prose = self.random.choice([template, self.text()])
        if kind == "tool":
            arguments = {self.text(): self.value(), "t": template}
            return {"tool": self.random.choice(TOOLS), **self.some({"arguments": arguments})}
        if kind == "compute":
            return {"compute": dict.fromkeys(self.random.sample(["total", "Share", "n_1"], 2), expression)}
        if kind == "decision":
            rule = self.random.choice(["'clear' if 1 < 2 else ask", "ask", "'suspicious'"])
            options = {"clear": self.text(), "suspicious": self.text()}
            return {"decision": {"question": prose, "options": options, **self.some({"rule": rule, "guidance": prose})}}
        if kind == "agent":
            return {"agent": {"instruction": prose, "tools": self.random.sample(TOOLS, self.random.randint(0, 2))}}
        if kind == "approval":
            return {"approval": {"by": [self.text()], **self.some({"not_by": "requester", "quorum": 2})}}
        extra = {"image": "python:3.12-slim", "args": [prose, ""], "env": {"A": prose, "B_1": "x"}}
        return {"command": {"command": [self.text()], **self.some(extra)}}

    def head(self) -> dict[str, Any]:
        cron = self.random.choice(["0 1 * * 1-5", "*/5 * * * *", "@daily"])
        when = {"timezone": "Europe/Berlin", "window": self.duration, "catchup": True}
        return self.some(
            {
                "apiVersion": "sop/v1",
                "control": self.text,
                "control_type": self.text,
                "owner": self.text,
                "priority": lambda: self.random.choice(["critical", "high", "normal", "low"]),
                "expected_duration": self.duration,
                "agent": lambda: {"model": self.text(), **self.some({"temperature": 0.5, "max_tokens": 9})},
                "resources": self.resources,
                "schedule": lambda: {"cron": cron, **self.some(when)},
                "escalation": lambda: [{"notifier": "a.b.Notifier", "kwargs": {self.text(): self.value()}}],
                "guidance": self.text,
            }
        )


@st.composite
def sop_documents(
    draw: st.DrawFn, kinds: tuple[str, ...] = KINDS, max_steps: int = 6, alone: bool = False
) -> dict[str, Any]:
    """Return valid SOP documents as plain data.

    :param kinds: kinds of steps that may occur.
    :param alone: only such as one agent can carry out alone: chains without conditions, items and rollback.
    """
    needs = draw(needs_maps(max_size=max_steps))
    if alone:
        ids = list(needs)
        needs = {step: ids[max(0, index - 1) : index] for index, step in enumerate(ids)}
        kinds = tuple(kind for kind in kinds if kind not in ("approval", "command"))
    chosen = draw(st.lists(st.sampled_from(kinds), min_size=len(needs), max_size=len(needs)))
    by_seed = _Decorator(draw(st.randoms(use_true_random=True)))
    declared = by_seed.inputs()
    scheduled = by_seed.head()
    if "schedule" in scheduled:
        declared = {name: schema for name, schema in declared.items() if "default" in schema}
    steps: dict[str, dict[str, Any]] = {}
    for step_id, kind in zip(sorted(needs, key=lambda name: len(_ancestors(needs, name))), chosen, strict=True):
        mapped = not alone and by_seed.random.random() < 0.2
        known = [steps[name] for name in _ancestors(needs, step_id)]
        expression = by_seed.expression(known, list(declared), mapped)
        step = {"id": step_id, **by_seed.common(expression), **by_seed.work(kind, expression)}
        if alone:
            step.pop("when", None)
        if needs[step_id] or by_seed.random.random() < 0.5:
            step["needs"] = needs[step_id]
        if mapped:
            step["for_each"] = "[1, 2, 3]"
        steps[step_id] = step
    document: dict[str, Any] = {
        "sop": by_seed.random.choice(["a", "vendor-bank-change", "x9", "a--b", "123-a"]),
        "version": by_seed.random.choice(["1.0.0", "2.1.0-rc.1", "2024-06", "7"]),
        "title": by_seed.text(),
        "inputs": declared,
        "data_sources": {name: {"server": f"{name}-server", "tools": tools} for name, tools in SOURCES.items()},
        "steps": [steps[name] for name in needs],
        **scheduled,
    }
    if not alone and by_seed.random.random() < 0.25:
        undone = by_seed.random.sample(sorted(steps), min(2, len(steps)))
        document["rollback"] = [{"id": f"undo_{name}", "after": name, "tool": "vendors.undo"} for name in undone]
    document["mode"] = draw(st.sampled_from(_modes(document)))
    return copy.deepcopy(document)  # parts that two steps share would be YAML aliases


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
    modes = ["agent_centric"] if alone else []
    if alone or dependents:
        modes.append("auto")
    return [*modes, "system_design"]


class _Fast(yaml.CSafeDumper):
    def ignore_aliases(self, data: Any) -> bool:
        return True


class _Quoting(yaml.SafeDumper):  # libyaml's emitter loses the tags of quoted numbers
    def ignore_aliases(self, data: Any) -> bool:
        return True


def dump(document: dict[str, Any], style: str = "block") -> str:
    """Return a document as YAML: `block`, `flow`, `mixed`, `quoted` or `json`."""
    if style == "json":
        return json.dumps(document, indent=1, ensure_ascii=False)
    return yaml.dump(
        document,
        Dumper=_Quoting if style == "quoted" else _Fast,
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


def _break(document: dict[str, Any], how: str, random: Random) -> None:
    path = random.choice(_places(document) or [("sop",)])
    parent: Any = document
    for part in path[:-1]:
        parent = parent[part]
    if how == "drop":
        parent.pop(path[-1], None) if isinstance(parent, dict) else parent.pop(path[-1])
    elif how == "rename" and isinstance(parent, dict) and path[-1] in parent:
        parent[random.choice([f"{path[-1]}s", str(path[-1])[1:], "steps", "", "x y"])] = parent.pop(path[-1])
    elif how == "retype":
        parent[path[-1]] = _Decorator(random).value()
    elif how == "copy" and isinstance(parent, list):
        parent.append(copy.deepcopy(parent[path[-1]]))
    elif how == "garble":
        parent[path[-1]] = random.choice(["{{", "{{ x", "{% if %}", "steps.x", "1 +", "a.b", "(" * 50, "@"])
    elif isinstance(document.get("steps"), list):
        steps = [step for step in document["steps"] if isinstance(step, dict) and isinstance(step.get("id"), str)]
        if steps:
            one, other = random.choice(steps), random.choice(steps)
            one["needs"], other["needs"] = [other["id"]], [one["id"]]


@st.composite
def broken_texts(draw: st.DrawFn) -> str:
    """Return texts most of which are no valid SOP: keys dropped, renamed and retyped, cycles, stray characters."""
    document = draw(sop_documents())
    random = draw(st.randoms(use_true_random=True))
    for how in draw(
        st.lists(st.sampled_from(["drop", "rename", "retype", "copy", "cycle", "garble"]), min_size=1, max_size=3)
    ):
        _break(document, how, random)
    text = dump(document, draw(st.sampled_from(["block", "flow", "quoted", "json"])))
    strays = [
        "\t",
        ": ",
        "- ",
        "&a ",
        "*a ",
        "!x ",
        "\n---\n",
        "<<: ",
        "'",
        "\x00",
        "\ud800",
        "\u2028",
        "\r",
        "🦄",
        "{",
        "]",
    ]
    for _ in range(draw(st.integers(0, 2))):
        start = random.randint(0, len(text))
        end = min(len(text), start + random.randint(0, 8))
        text = text[:start] + random.choice(strays) + text[end:]
    return text
