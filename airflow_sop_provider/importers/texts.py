"""Texts and names of others, made fit for an SOP: nothing in them is an expression, a comment or a key of ours."""

from __future__ import annotations

import re
from typing import Any

import yaml

from airflow_sop_provider.sop.problems import printable
from airflow_sop_provider.sop.scalars import plain_scalar

__all__ = ["approval", "clean", "comment", "dump", "identifier", "literal", "one_line", "slug", "step_id", "tool_name"]

_LONGEST = 4000
_OPENING = re.compile(r"\{\{|\{%")


def clean(text: object, limit: int = _LONGEST) -> str:
    """Return readable text: no control characters, bounded."""
    shown = printable(str(text).replace("\r\n", "\n").replace("\t", " ")).strip()
    return shown if len(shown) <= limit else f"{shown[: limit - 1]}…"


def one_line(text: object, otherwise: str = "step", limit: int = 200) -> str:
    """Return text of one line that is not empty."""
    return " ".join(clean(text, limit).split()) or otherwise


def comment(text: object) -> str:
    """Return what can follow `# `."""
    return " ".join(clean(text, 500).split())


def literal(text: str) -> str:
    """Return text that an expression's reader takes as it is."""
    return _OPENING.sub(lambda match: f"{{{{ '{match[0]}' }}}}", text)


def slug(text: object, otherwise: str) -> str:
    """Return a name of lower-case letters, digits and `-` that starts with a letter."""
    name = re.sub(r"[^a-z0-9]+", "-", str(text).lower()).strip("-")[:63].rstrip("-")
    return name if name and name[0].isalpha() else f"{otherwise}-{name}"[:63].rstrip("-")


def step_id(text: object, taken: set[str]) -> str:
    """Return a step's id that is not taken yet, nor that of a `for_each`'s items, and take it."""
    base = (
        re.sub(r"[^a-z0-9]+", "_", re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", str(text)).lower()).strip("_")[:50].strip("_")
    )
    base = base if base and base[0].isalpha() else f"step_{base}".rstrip("_")
    name, number = base, 1
    while name in taken:
        number += 1
        name = f"{base}_{number}"
    taken.add(name)
    return name


def identifier(text: object, taken: set[str], reserved: frozenset[str] = frozenset()) -> str:
    """Return the name of an input that is not taken yet, and take it."""
    base = re.sub(r"[^A-Za-z0-9_]+", "_", str(text)).strip("_")[:55]
    base = base if base and base[0].isalpha() else f"input_{base}".rstrip("_")
    name, number = base, 1
    while name in taken or name in reserved:
        number += 1
        name = f"{base}_{number}"
    taken.add(name)
    return name


def tool_name(text: object) -> str:
    """Return the name of a tool."""
    name = re.sub(r"[^A-Za-z0-9_./-]+", "_", str(text))[:128].lstrip("-./")
    return name or "run"


def approval(title: str, what: str, by: list[str] | None = None, quorum: int = 1) -> dict[str, Any]:
    """Return a step that waits until a person has done something, or says that it may go on."""
    people = [name for name in (one_line(one, "") for one in by or []) if name] or ["sop-owner"]
    people = list(dict.fromkeys(people))
    return {
        "title": title,
        "guidance": literal(clean(what)) or "Confirm.",
        "approval": {"by": people, "quorum": max(1, min(quorum, 100, len(people)))},
    }


class _Dumper(yaml.SafeDumper):
    def ignore_aliases(self, data: Any) -> bool:
        """Write everything out: others' aliases are not ours."""
        return True


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    odd = plain_scalar(text) != text or not text.isprintable() or "{{" in text
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style='"' if odd else None)


_Dumper.add_representer(str, _text)


def dump(value: Any) -> str:
    """Return YAML that every reader of YAML takes for the same."""
    return yaml.dump(value, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=110, default_flow_style=False)
