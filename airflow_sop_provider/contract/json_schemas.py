"""Checks JSON values against JSON Schemas that came from outside: an SOP's ``outputs``, a tool's schemas.

One place, because the runner and the fleet's gateway must judge alike. References are resolved within the schema
only: a schema never makes us fetch a URL. ``jsonschema`` is imported late: 0.1 s of CPU that most steps do not need.
"""

from __future__ import annotations

from typing import Any

__all__ = ["SchemaCheck", "UnusableSchemaError"]

_LONGEST_MESSAGE = 300


class UnusableSchemaError(ValueError):
    """What should be a JSON Schema is none."""


class SchemaCheck:
    """A compiled schema; compiling costs many times what one check does.

    :raises UnusableSchemaError: ``schema`` is not a JSON Schema.
    """

    def __init__(self, schema: dict[str, Any]) -> None:
        from jsonschema import Draft202012Validator, SchemaError
        from jsonschema.validators import validator_for
        from referencing import Registry

        try:
            validator_class = validator_for(schema, default=Draft202012Validator)
            validator_class.check_schema(schema)
        except SchemaError as problem:
            raise UnusableSchemaError(str(problem)) from problem
        self._validator = validator_class(schema, registry=Registry())

    def violation(self, value: Any) -> tuple[str, str] | None:
        """Return (JSON path, message) of the violation that explains most, None if ``value`` fits.

        :raises UnusableSchemaError: a reference of the schema leads out of it.
        """
        from jsonschema.exceptions import best_match
        from referencing.exceptions import Unresolvable

        try:
            error = best_match(self._validator.iter_errors(value))
        except Unresolvable as problem:
            raise UnusableSchemaError(str(problem)) from problem
        return None if error is None else (error.json_path, _short(error.message))


def _short(message: str) -> str:
    return message if len(message) <= _LONGEST_MESSAGE else f"{message[:_LONGEST_MESSAGE]}…"
