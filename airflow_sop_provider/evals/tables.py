"""Tables of cases and of recorded results, CSV or JSON lines, with problems that name file and line."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from airflow_sop_provider.evals.models import Case, RecordedResult
from airflow_sop_provider.sop.problems import MAX_PROBLEMS, Problem, nearest

__all__ = ["read_cases", "read_recorded"]

MAX_BYTES = 256 * 1024 * 1024
"""Largest table that is read, bytes."""

M = TypeVar("M", bound=BaseModel)
_GROUPS = ("inputs", "outputs", "decisions", "approvals")


def read_cases(path: Path, inputs: Mapping[str, Any]) -> tuple[list[Case], list[Problem]]:
    """Return the cases of a table, or what is wrong with it.

    :param inputs: schemas of the SOP's inputs: a text input's cell is text whatever it looks like.
    """
    if path.suffix.lower() == ".csv":
        return _read(path, lambda text: _csv_rows(text, path, inputs), Case)
    return _read(path, lambda text: _json_rows(text, path), Case)


def read_recorded(path: Path) -> tuple[list[RecordedResult], list[Problem]]:
    """Return the recorded results of a file of JSON lines, or what is wrong with it."""
    return _read(path, lambda text: _json_rows(text, path), RecordedResult)


Rows = tuple[list[tuple[int, Any]], list[Problem]]


def _read(path: Path, rows_of: Callable[[str], Rows], model: type[M]) -> tuple[list[M], list[Problem]]:
    try:
        if path.stat().st_size > MAX_BYTES:
            return [], [Problem("file-too-large", f"the file has more than {MAX_BYTES >> 20} MiB", str(path))]
        rows, problems = rows_of(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        return [], [Problem("unreadable", f"the file cannot be read: {error.strerror or error}", str(path))]
    except UnicodeDecodeError as error:
        return [], [Problem("not-utf-8", f"the file is not UTF-8 text: {error.reason}", str(path))]
    found: list[M] = []
    for line, data in rows:
        try:
            found.append(model.model_validate(data))
        except ValidationError as error:
            problems += [_problem(path, line, dict(detail), model) for detail in error.errors(include_url=False)]
    return found, problems[:MAX_PROBLEMS]


def _json_rows(text: str, path: Path) -> Rows:
    rows: list[tuple[int, Any]] = []
    problems: list[Problem] = []
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            rows.append((number, json.loads(line)))
        except json.JSONDecodeError as error:
            message, excerpt = f"this line is no JSON: {error.msg}", line.rstrip("\r")
            hint = "one line holds one JSON object"
            problems.append(Problem("not-json", message, str(path), number, error.colno, excerpt, hint))
        except RecursionError:
            problems.append(Problem("not-json", "values are nested too deep", str(path), number))
    return rows, problems


def _csv_rows(text: str, path: Path, inputs: Mapping[str, Any]) -> Rows:
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    rows: list[tuple[int, Any]] = []
    problems: list[Problem] = []
    try:
        header = next(reader, [])
        problems += _header_problems(header, path)
        if problems:
            return [], problems
        for cells in reader:
            if not any(cells):
                continue
            if len(cells) != len(header):
                message = f"this row has {len(cells)} cells, the header {len(header)}"
                problems.append(Problem("bad-row", message, str(path), reader.line_num))
                continue
            rows.append((reader.line_num, _case_of(dict(zip(header, cells, strict=True)), inputs)))
    except csv.Error as error:
        problems.append(Problem("not-csv", f"this is not CSV: {error}", str(path), max(1, reader.line_num)))
    return rows, problems


def _header_problems(header: list[str], path: Path) -> list[Problem]:
    known = ["id", "status", "tools", *(f"{group}.<name>" for group in _GROUPS)]
    problems = []
    for column, name in enumerate(header):
        group, dot, rest = name.partition(".")
        if name in ("id", "status", "tools") or (group in _GROUPS and dot and rest):
            if name in header[:column]:
                problems.append(Problem("duplicate-key", f"the column `{name}` stands here twice", str(path)))
            continue
        match = nearest(group, ["id", "status", "tools", *_GROUPS])
        hint = f"did you mean `{match}{'.' + rest if rest else ''}`?" if match else f"columns are {', '.join(known)}"
        problems.append(Problem("unknown-key", f"unknown column `{name[:60]}`", str(path), suggestion=hint))
    if "id" not in header:
        problems.append(Problem("missing-key", "the column `id` is missing", str(path)))
    return problems


def _case_of(row: Mapping[str, str], inputs: Mapping[str, Any]) -> dict[str, Any]:
    """Return a case as JSON would give it; an empty cell says nothing."""
    case: dict[str, Any] = {"id": row["id"], "inputs": {}, "expect": {"outputs": {}, "decisions": {}}, "approvals": {}}
    for column, cell in row.items():
        group, _, name = column.partition(".")
        if not cell or column == "id":
            continue
        if group == "inputs":
            case["inputs"][name] = cell if _is_text(inputs.get(name)) else _value(cell)
        elif group == "outputs":
            case["expect"]["outputs"][name] = _expectation(cell)
        elif group == "status":
            case["expect"]["status"] = cell
        elif group == "tools":
            case["expect"]["tools"] = cell.replace(";", " ").split()
        else:
            (case["expect"]["decisions"] if group == "decisions" else case["approvals"])[name] = cell
    return case


def _is_text(schema: Any) -> bool:
    return isinstance(schema, Mapping) and schema.get("type") == "string"


def _value(cell: str) -> Any:
    try:
        return json.loads(cell)
    except (ValueError, RecursionError):
        return cell


def _expectation(cell: str) -> Any:
    """Return what a cell expects: the JSON value it is, or, as CSV has no types, the text it is."""
    value = _value(cell)
    return value if isinstance(value, str | dict | list) else {"one_of": [value, cell]}


def _problem(path: Path, line: int, detail: Mapping[str, Any], model: type[BaseModel]) -> Problem:
    location = [str(part) for part in detail["loc"] if part != "[key]"]
    where = ".".join(location)
    if detail["type"] == "extra_forbidden":
        match = nearest(location[-1], model.model_fields) if len(location) == 1 else None
        return Problem("unknown-key", f"unknown key `{where[:80]}`", str(path), line,
                       suggestion=f"did you mean `{match}`?" if match else None)  # fmt: skip
    if detail["type"] == "missing":
        return Problem("missing-key", f"the key `{where[:80]}` is missing", str(path), line)
    return Problem("bad-value", f"`{where[:80] or 'this line'}`: {detail['msg']}", str(path), line)
