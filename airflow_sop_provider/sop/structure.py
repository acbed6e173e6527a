"""Plain data -> models, with pydantic's errors told in the words and places of the file."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from airflow_sop_provider.sop.fields import NAME_HELP
from airflow_sop_provider.sop.models import Sop
from airflow_sop_provider.sop.problems import MAX_PROBLEMS, Problem, nearest
from airflow_sop_provider.sop.source import Source
from airflow_sop_provider.sop.yaml_nodes import Node, Path, find_node, place_of

__all__ = ["build", "build_model"]

_TYPE_NAMES = {
    "string_type": "text", "int_type": "a whole number", "float_type": "a number", "bool_type": "true or false",
    "dict_type": "a mapping of keys to values", "list_type": "a list", "model_type": "a mapping of keys to values",
}  # fmt: skip


M = TypeVar("M", bound=BaseModel)


def build(data: Mapping[str, Any], root: Node, source: Source) -> tuple[Sop | None, list[Problem]]:
    """Return the SOP that `data` describes, or what is wrong with its structure.

    That a step has exactly one kind is left to `sop.checks.kinds`, which says it whatever else is wrong.
    """
    return build_model(Sop, data, root, source)


def build_model(model: type[M], data: Any, root: Node, source: Source) -> tuple[M | None, list[Problem]]:
    """Return what `data` describes as a model, or what is wrong with its structure, in places of the file.

    For every document of ours that is YAML: SOPs, and the suites that evaluate them.
    """
    try:
        return model.model_validate(data), []
    except ValidationError as error:
        details = error.errors(include_url=False)
        wrong = [detail for detail in details[:MAX_PROBLEMS] if detail["type"] != "step_kind"]
        misspelt = {(*path[:-1], _meant(model, path)) for detail in wrong
                    if detail["type"] == "extra_forbidden" and (path := detail["loc"])}  # fmt: skip
        return None, [_problem(model, detail, root, source) for detail in wrong
                      if not (detail["type"] == "missing" and detail["loc"] in misspelt)]  # fmt: skip


def _problem(model: type[BaseModel], detail: ErrorDetails, root: Node, source: Source) -> Problem:
    kind = detail["type"]
    path = tuple(part for part in detail["loc"] if part != "[key]")
    at_key = detail["loc"][-1:] == ("[key]",)
    name = str(path[-1]) if path else ""
    suggestion = None
    if kind == "extra_forbidden":
        code, message, suggestion = _unknown_key(model, path)
        at_key = True
    elif kind == "missing":
        code, message, path = "missing-key", f"the key `{name}` is missing{_within(path[:-1])}", path[:-1]
        suggestion = f"add `{name}`; `sop new ID` writes an SOP that shows every key"
    elif kind in _TYPE_NAMES:
        code, message, suggestion = _wrong_type(kind, path, find_node(root, path))
    else:
        code, message, suggestion = _bad_value(detail, name)
    line, column = place_of(root, path, key=at_key)
    return source.problem(code, message, line, column, suggestion)


def _unknown_key(model: type[BaseModel], path: Path) -> tuple[str, str, str | None]:
    match = _meant(model, path)
    suggestion = f"did you mean `{match}`?" if match else f"known keys are {', '.join(_known_keys(model, path[:-1]))}"
    return "unknown-key", f"unknown key `{str(path[-1])[:60]}`{_within(path[:-1])}", suggestion


def _meant(model: type[BaseModel], path: Path) -> str | None:
    """Return the known key that the unknown one at `path` is most like."""
    return nearest(str(path[-1]), _known_keys(model, path[:-1]))


def _known_keys(model: type[BaseModel], path: Path) -> list[str]:
    found = _model_at(model, path)
    return list(found.model_fields) if found else []


def _wrong_type(kind: str, path: Path, node: Node | None) -> tuple[str, str, str | None]:
    expected = _TYPE_NAMES[kind]
    name = f"`{path[-1]}`" if path and isinstance(path[-1], str) else "this" if path else "an SOP"
    message = f"{name} must be {expected}, not {_kind_of(node)}"
    if node is None or node.kind != "scalar":
        return "wrong-type", message, None
    if node.scalar is None:
        return "wrong-type", message, "write a value, or leave the key out"
    if kind == "string_type":
        return "wrong-type", message, f'put it into quotes: "{node.text[:60]}"'
    if kind == "list_type":
        return "wrong-type", message, f"write a list: [{node.text[:60]}]"
    quoted = kind in ("int_type", "float_type", "bool_type") and isinstance(node.scalar, str) and not node.plain
    return "wrong-type", message, "leave the quotes out" if quoted else None


def _bad_value(detail: ErrorDetails, name: str) -> tuple[str, str, str | None]:
    kind, message = detail["type"], detail["msg"]
    context: dict[str, Any] = detail.get("ctx", {})
    if kind == "literal_error":
        known = re.findall(r"'([^']*)'", context["expected"])
        match = nearest(str(detail["input"]), known)
        message = f"`{name}` must be {' or '.join(known)}, not `{str(detail['input'])[:60]}`"
        return "bad-value", message, f"did you mean `{match}`?" if match else f"write one of these, such as {known[0]}"
    if kind == "string_pattern_mismatch":
        return _bad_name(name, str(detail["input"]), context["pattern"])
    if kind == "value_error" or kind in ("bad_duration", "bad_quantity", "missing_one"):
        what, _, remedy = message.partition(": ")
        return kind.replace("_", "-"), what, remedy or None
    if kind in ("too_short", "string_too_short"):
        least = context.get("min_length", 1)
        if least == 1:
            return "bad-value", f"`{name}` is empty", "write a value, or leave the key out"
        return "bad-value", f"`{name}` has fewer than {least} entries", "add what is missing"
    return "bad-value", f"`{name}`: {message[:1].lower()}{message[1:]}", None


def _bad_name(name: str, value: str, pattern: str) -> tuple[str, str, str | None]:
    wanted, _, example = NAME_HELP.get(pattern, f"text like {pattern}").partition(", for example ")
    repaired = re.sub(r"[^a-z0-9]+", "-", value.lower()).strip("-")
    candidates = (repaired.replace("-", "_"), repaired)
    good = (f"`{candidate}`" for candidate in candidates if candidate != value and re.match(pattern, candidate))
    shown = next(good, example)
    message = f"`{value[:80]}` is not a good name: it is {wanted}"
    return "bad-name", message, f"for example {shown}" if shown else None


def _within(path: Path) -> str:
    """Return where a key is, in words: `` in step 2``, `` in `schedule` ``, nothing at the top."""
    if not path:
        return ""
    if isinstance(path[-1], int):
        singular = {"steps": "step", "rollback": "rollback step", "escalation": "escalation"}
        return f" in {singular.get(str(path[-2]), str(path[-2]))} {path[-1] + 1}"
    return f" in `{path[-1]}`"


def _kind_of(node: Node | None) -> str:
    if node is None or node.kind == "map":
        return "a mapping" if node else "this"
    if node.kind == "list":
        return "a list"
    if node.scalar is None:
        return "nothing"
    if isinstance(node.scalar, bool):
        return f"the boolean {node.text}"
    return "text" if isinstance(node.scalar, str) else f"the number {node.text[:40]}"


def _model_at(root: type[BaseModel], path: Path) -> type[BaseModel] | None:
    """Return the model that describes the mapping at `path`."""
    annotation: Any = root
    for part in path:
        model = _model_in(annotation)
        if model is not None and isinstance(part, str) and part in model.model_fields:
            annotation = model.model_fields[part].annotation
    return _model_in(annotation)


def _model_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((model for inner in get_args(annotation) if (model := _model_in(inner))), None)
