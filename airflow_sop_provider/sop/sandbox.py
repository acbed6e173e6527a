"""The Jinja2 environment in which expressions of an SOP run.

Jinja2's sandbox keeps an expression away from Python's insides. This one is narrower: values are
JSON, so only the harmless methods of text, mappings and lists can be reached, nothing random or
dependent on the process is offered, and whatever can make a small expression produce a large
value is bounded before it is computed. Time is bounded by the process that evaluates.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Any

from jinja2 import StrictUndefined, nodes
from jinja2.compiler import CodeGenerator, Frame
from jinja2.runtime import Context, Undefined
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import missing

from airflow_sop_provider.sop.bounds import bounded_range, calculate, joined
from airflow_sop_provider.sop.filters import FILTERS, TESTS, method

__all__ = ["ExpressionEnvironment", "Missing", "environment"]


class Missing(StrictUndefined):
    """A value that is not there: any use of it fails, save `is defined`, `default` and reading on.

    Reading on gives the same missing value, so that ``steps.x.choice | default('none')`` works when
    the whole step was skipped.
    """

    __slots__ = ()

    @property
    def _undefined_message(self) -> str:
        if self._undefined_hint or self._undefined_obj is missing:
            return self._undefined_hint or f"`{self._undefined_name}` is not known here"
        there = ", ".join(map(str, self._undefined_obj))[:200] if isinstance(self._undefined_obj, Mapping) else ""
        return f"there is no `{self._undefined_name}`{f'; there is {there}' if there else ''}"


class _Generator(CodeGenerator):
    """Sends ``~`` through a function that bounds its result; Jinja2 lets only the other operators be intercepted."""

    def visit_Concat(self, node: nodes.Concat, frame: Frame) -> None:
        self.write("environment.concat_texts((")
        for part in node.nodes:
            self.visit(part, frame)
            self.write(", ")
        self.write("))")


class ExpressionEnvironment(ImmutableSandboxedEnvironment):
    """Jinja2's sandbox, narrowed to JSON values."""

    code_generator_class = _Generator
    intercepted_binops = frozenset({"+", "-", "*", "/", "//", "%", "**"})

    def __init__(self) -> None:
        # No optimizer: it would compute constants while compiling, outside of any budget. A comment mark that
        # nobody types: `{#` is common in shell text and must not swallow it.
        super().__init__(
            undefined=Missing, autoescape=False, optimized=False, cache_size=0, keep_trailing_newline=True,
            comment_start_string="{\x00#", comment_end_string="#\x00}",
        )  # fmt: skip
        self.filters = dict(FILTERS)
        self.tests = dict(TESTS)
        self.globals = {"range": bounded_range}

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        """Return the bounded result of an operator."""
        return calculate(operator, left, right)

    def concat_texts(self, parts: Sequence[Any]) -> str:
        """Return the texts of the operands of ``~`` in a row."""
        return joined(parts)

    def getattr(self, obj: Any, attribute: str) -> Any:
        """Return ``obj.attribute``: a key of a mapping before a method, so that no key is hidden."""
        if isinstance(obj, Undefined):
            return obj
        if isinstance(obj, Mapping) and attribute in obj:
            return obj[attribute]
        if isinstance(obj, tuple) and attribute in getattr(obj, "_fields", ()):
            return getattr(obj, attribute)
        found = method(obj, attribute)
        return self.undefined(obj=obj, name=attribute) if found is None else found

    def getitem(self, obj: Any, argument: Any) -> Any:
        """Return ``obj[argument]``."""
        if isinstance(obj, Undefined):
            return obj
        if isinstance(obj, Mapping | list | tuple | str | range):
            try:
                return obj[argument]
            except (TypeError, LookupError):
                pass
        return self.getattr(obj, argument) if isinstance(argument, str) else self.undefined(obj=obj, name=argument)


@functools.cache
def environment() -> ExpressionEnvironment:
    """Return the one environment of this process; it holds no state of any execution."""
    return ExpressionEnvironment()
