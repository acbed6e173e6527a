"""JSON Schemas that an SOP gives for its inputs and results.

A schema is checked here, keyword by keyword, rather than against the meta-schema: that finds the
mistake's place, is far cheaper (every pass of Airflow's dag-processor does it), and unlike JSON
Schema itself does not let a misspelt keyword pass.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from airflow_sop_provider.sop.problems import nearest

__all__ = ["SchemaFinding", "schema_findings"]

Path = tuple[str | int, ...]
TYPES = ("array", "boolean", "integer", "null", "number", "object", "string")


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_SCHEMA = _words(
    "items contains additionalProperties propertyNames unevaluatedItems unevaluatedProperties if then else not "
    "contentSchema"
)
_SCHEMA_LISTS = _words("allOf anyOf oneOf prefixItems")
_SCHEMA_MAPS = _words("properties patternProperties $defs definitions dependentSchemas")
_COUNTS = _words("maxLength minLength maxItems minItems maxProperties minProperties maxContains minContains")
_NUMBERS = _words("maximum minimum exclusiveMaximum exclusiveMinimum multipleOf")
_TEXTS = _words(
    "title description format pattern $comment $id $schema $anchor $ref contentEncoding contentMediaType section "
    "description_md"  # this, section and values_display are of Airflow's trigger form
)
_BOOLEANS = _words("uniqueItems readOnly writeOnly deprecated")
_NAME_LISTS = _words("required")
_ANYTHING = _words("const default examples values_display")
KEYWORDS = (
    _SCHEMA | _SCHEMA_LISTS | _SCHEMA_MAPS | _COUNTS | _NUMBERS | _TEXTS | _BOOLEANS | _NAME_LISTS | _ANYTHING
    | {"type", "enum", "dependentRequired"}
)  # fmt: skip
"""Keywords a schema may have, besides those that start with ``x-``."""


@dataclass(frozen=True, slots=True)
class SchemaFinding:
    """Something wrong in a schema.

    :param path: keys and indices from the schema to it.
    :param at_key: whether the key, not the value, is at fault.
    """

    path: Path
    message: str
    suggestion: str | None = None
    at_key: bool = False


def schema_findings(schema: Any) -> Iterator[SchemaFinding]:
    """Yield what is wrong with a JSON Schema (draft 2020-12, references within the schema only)."""
    yield from _schema(schema, (), schema)


def _schema(schema: Any, path: Path, whole: Any) -> Iterator[SchemaFinding]:
    if isinstance(schema, bool):
        return
    if not isinstance(schema, Mapping):
        yield SchemaFinding(path, "a schema is a mapping, or true or false")
        return
    for keyword, value in schema.items():
        here = (*path, keyword)
        if keyword in _SCHEMA:
            yield from _schema(value, here, whole)
        elif keyword in _SCHEMA_LISTS:
            yield from _schema_list(value, here, whole)
        elif keyword in _SCHEMA_MAPS:
            yield from _schema_map(value, here, whole)
        elif keyword in KEYWORDS:
            yield from _plain(keyword, value, here, whole)
        elif not keyword.startswith("x-"):
            match = nearest(keyword, KEYWORDS)
            yield SchemaFinding(here, f"unknown keyword `{keyword[:60]}`", f"did you mean `{match}`?" if match else
                                "an own keyword starts with `x-`", at_key=True)  # fmt: skip


def _schema_list(value: Any, path: Path, whole: Any) -> Iterator[SchemaFinding]:
    if not isinstance(value, list) or not value:
        yield SchemaFinding(path, f"`{path[-1]}` is a list of at least one schema")
        return
    for index, item in enumerate(value):
        yield from _schema(item, (*path, index), whole)


def _schema_map(value: Any, path: Path, whole: Any) -> Iterator[SchemaFinding]:
    if not isinstance(value, Mapping):
        yield SchemaFinding(path, f"`{path[-1]}` is a mapping of names to schemas")
        return
    for name, item in value.items():
        if path[-1] == "patternProperties" and (reason := _regex_error(name)):
            yield SchemaFinding((*path, name), reason, at_key=True)
        yield from _schema(item, (*path, name), whole)


def _plain(keyword: str, value: Any, path: Path, whole: Any) -> Iterator[SchemaFinding]:
    if keyword == "type":
        yield from _type(value, path)
        return
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    wrong: str | None = None
    if keyword in _COUNTS and not (is_number and value >= 0 and value == int(value)):
        wrong = "is a whole number, 0 or more"
    elif keyword in _NUMBERS and not (is_number and (keyword != "multipleOf" or value > 0)):
        wrong = "is a number" if keyword != "multipleOf" else "is a number above 0"
    elif keyword in _TEXTS and not isinstance(value, str):
        wrong = "is text"
    elif keyword in _BOOLEANS and not isinstance(value, bool):
        wrong = "is true or false"
    elif keyword in _NAME_LISTS and not _is_name_list(value):
        wrong = "is a list of different names"
    elif keyword == "enum" and not (isinstance(value, list) and value):
        wrong = "is a list of at least one value"
    elif keyword == "examples" and not isinstance(value, list):
        wrong = "is a list"
    elif keyword == "dependentRequired" and not (
        isinstance(value, Mapping) and all(_is_name_list(names) for names in value.values())
    ):
        wrong = "is a mapping of names to lists of names"
    elif keyword == "pattern":
        wrong = _regex_error(value)
    elif keyword == "$ref" and not _resolves(value, whole):
        wrong = "names nothing in this schema; references to elsewhere are not allowed"
    if wrong:
        yield SchemaFinding(path, f"`{keyword}` {wrong}")


def _type(value: Any, path: Path) -> Iterator[SchemaFinding]:
    names = value if isinstance(value, list) else [value]
    if not names or len({str(name) for name in names}) != len(names):
        yield SchemaFinding(path, "`type` is a type, or a list of different types")
    for index, name in enumerate(names):
        if name not in TYPES:
            match = nearest(str(name), TYPES)
            place = (*path, index) if isinstance(value, list) else path
            yield SchemaFinding(place, f"there is no type `{str(name)[:60]}`", f"did you mean `{match}`?" if match else
                                f"types are {', '.join(TYPES)}")  # fmt: skip


def _is_name_list(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(name, str) for name in value) and len(set(value)) == len(value)


@functools.lru_cache(maxsize=1024)
def _regex_error(pattern: str) -> str | None:
    try:
        re.compile(pattern)
    except (re.error, OverflowError, RecursionError) as error:
        return f"`{pattern[:60]}` is not a regular expression: {error}"
    return None


def _resolves(reference: str, whole: Any) -> bool:
    if not reference.startswith("#"):
        return False
    target = whole
    for part in reference[1:].split("/")[1:]:
        name = part.replace("~1", "/").replace("~0", "~")
        if isinstance(target, Mapping) and name in target:
            target = target[name]
        elif isinstance(target, list) and name.isdecimal() and int(name[:9]) < len(target):
            target = target[int(name[:9])]
        else:
            return False
    return reference in ("#", "") or reference.startswith("#/")
