"""Types of single fields: names, durations, quantities; shared by the models.

A pattern stands in the type, so that the JSON Schema carries it to editors; `NAME_HELP` says in
words what a name must be, because nobody wants to read a regular expression in an error message.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer, WithJsonSchema
from pydantic_core import PydanticCustomError

from airflow_sop_provider.sop.durations import DURATION_PATTERN, format_duration, parse_duration
from airflow_sop_provider.sop.quantities import QUANTITY_PATTERN, parse_quantity

__all__ = [
    "NAME_HELP",
    "BareToolName",
    "Cpu",
    "DottedPath",
    "Duration",
    "EnvName",
    "Expression",
    "Identifier",
    "Model",
    "Quantity",
    "SopId",
    "SourceName",
    "StepId",
    "Template",
    "Text",
    "ToolName",
    "Version",
]


class Model(BaseModel):
    """Base of every part of an SOP: immutable, no unknown keys, no silent conversion."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, use_attribute_docstrings=False)


_SOP_ID = r"^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$"
_STEP_ID = r"^[a-z]([a-z0-9_]{0,61}[a-z0-9])?$"
_IDENTIFIER = r"^[A-Za-z][A-Za-z0-9_]{0,62}$"
_SOURCE = r"^[a-z]([-a-z0-9_]{0,61}[a-z0-9])?$"
_TOOL = r"^[a-z]([-a-z0-9_]{0,61}[a-z0-9])?\.[A-Za-z0-9_][-A-Za-z0-9_./]{0,127}$"
_TOOL_NAME = r"^[A-Za-z0-9_][-A-Za-z0-9_./]{0,127}$"
_DOTTED = r"^[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)+$"
_ENV = r"^[A-Za-z_][A-Za-z0-9_]{0,254}$"
_VERSION = r"^[0-9A-Za-z][-+._0-9A-Za-z]{0,63}$"

NAME_HELP: dict[str, str] = {
    _SOP_ID: "lower-case letters, digits and `-`, at most 63 characters, letter or digit at both ends",
    _STEP_ID: "lower-case letters, digits and `_`, at most 63 characters, starting with a letter, not ending with `_`",
    _IDENTIFIER: "letters, digits and `_`, starting with a letter, at most 63 characters",
    _SOURCE: "lower-case letters, digits, `-` and `_`, starting with a letter, at most 63 characters",
    _TOOL: "`<data source>.<tool>`, for example `crm.get_customer`",
    _TOOL_NAME: "letters, digits, `_`, `-`, `.` and `/`",
    _DOTTED: "a dotted path to a class, for example `package.module.Class`",
    _ENV: "letters, digits and `_`, not starting with a digit, for example `API_REGION`",
    _VERSION: "letters, digits, `.`, `-`, `_` and `+`, at most 64 characters",
}
"""What a name must be, by the pattern it broke."""


def _duration(value: Any) -> Any:
    if isinstance(value, timedelta):
        return value
    if not isinstance(value, str):
        raise PydanticCustomError("bad_duration", "a duration is text with a unit: write for example 90s, 10m or 1h30m")
    try:
        return parse_duration(value)
    except ValueError as error:
        raise PydanticCustomError("bad_duration", "{reason}", {"reason": str(error)}) from None


def _quantity(value: Any) -> Any:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise PydanticCustomError("bad_quantity", "a quantity is a number or text: write for example 250m or 256Mi")
    text = f"{value:f}".rstrip("0").rstrip(".") if isinstance(value, float) else str(value)
    try:
        number = parse_quantity(text)
    except ValueError as error:
        raise PydanticCustomError("bad_quantity", "{reason}", {"reason": str(error)}) from None
    if number <= 0:
        raise PydanticCustomError("bad_quantity", "zero is not allowed: leave the key out for the default")
    return text


def _whole(value: Any) -> Any:
    text = _quantity(value)
    if parse_quantity(text) < 1:
        raise PydanticCustomError(
            "bad_quantity",
            "`{text}` is less than one unit: write `Mi` for mebibytes, `m` means thousandths",
            {"text": text},
        )
    return text


_QUANTITY_SCHEMA = {
    "anyOf": [{"type": "string", "pattern": QUANTITY_PATTERN}, {"type": "number", "exclusiveMinimum": 0}],
}

Duration = Annotated[
    timedelta,
    BeforeValidator(_duration),
    PlainSerializer(format_duration, return_type=str, when_used="json"),
    WithJsonSchema({"type": "string", "pattern": DURATION_PATTERN, "examples": ["90s", "10m", "1h30m", "2d"]}),
]
Cpu = Annotated[str, BeforeValidator(_quantity), WithJsonSchema(_QUANTITY_SCHEMA)]
Quantity = Annotated[str, BeforeValidator(_whole), WithJsonSchema(_QUANTITY_SCHEMA)]
SopId = Annotated[str, Field(pattern=_SOP_ID)]
StepId = Annotated[str, Field(pattern=_STEP_ID)]
Identifier = Annotated[str, Field(pattern=_IDENTIFIER)]
SourceName = Annotated[str, Field(pattern=_SOURCE)]
ToolName = Annotated[str, Field(pattern=_TOOL)]
BareToolName = Annotated[str, Field(pattern=_TOOL_NAME)]
DottedPath = Annotated[str, Field(pattern=_DOTTED)]
EnvName = Annotated[str, Field(pattern=_ENV)]
Version = Annotated[str, Field(pattern=_VERSION)]
Text = Annotated[str, Field(min_length=1)]
Expression = Annotated[str, Field(min_length=1)]
"""A bare Jinja2 expression, without ``{{ }}``."""
Template = Annotated[str, Field(min_length=1)]
"""Text with ``{{ expression }}`` in it."""
