"""Expressions: small formulas over inputs and outputs of steps (design, section 6).

Bare in `when`, `rule`, `compute` and `for_each`; as ``{{ expression }}`` inside text. They are
Jinja2 expressions in a sandbox (`sop.sandbox`), over JSON values, giving JSON values. Statements
(``{% ... %}``) are not part of the language. A text that is one ``{{ expression }}`` and nothing
else gives the value with its type; inside other text a value reads as text, or as JSON.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any

from jinja2 import TemplateError, nodes
from jinja2.environment import TemplateExpression

from airflow_sop_provider.sop.ask import ASK
from airflow_sop_provider.sop.bounds import joined, json_value, new_budget, text_of
from airflow_sop_provider.sop.expression_syntax import ExpressionError, Parsed, parse_expression, parse_template
from airflow_sop_provider.sop.sandbox import environment
from airflow_sop_provider.sop.templates import has_expressions

__all__ = ["ASK", "ExpressionError", "evaluate", "references", "render", "render_apart"]

_CACHE = 1024


def evaluate(expression: str, names: Mapping[str, Any]) -> Any:
    """Return the value of a bare expression: JSON data, or `ASK`.

    :param names: values of `inputs`, `steps`, `item`, `execution`; what is left out reads as undefined.
    :raises ExpressionError: it does not compile, reads what is not there, or produces too much.
    """
    compiled = _compiled_expression(expression)
    return _guarded(expression, lambda: _value(compiled, names))


def render(value: Any, names: Mapping[str, Any]) -> Any:
    """Return JSON data with every ``{{ expression }}`` in its texts evaluated; keys are left as they are.

    :param names: as in `evaluate`.
    :raises ExpressionError: as `evaluate`.
    """
    if isinstance(value, str):
        return _render_text(value, names)
    if isinstance(value, Mapping):
        return {key: render(item, names) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [render(item, names) for item in value]
    return value


def render_apart(text: str, names: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """Return a text with a label for each of its expressions, and the values by label.

    For readers that take what they read for orders: a value may hold anything, so it must not stand between the words
    of whoever wrote the text.

    :param names: as in `evaluate`.
    :raises ExpressionError: as `evaluate`.
    """
    if "{{" not in text and "{%" not in text:
        return text, {}
    values: dict[str, Any] = {}
    words: list[str] = []
    for part in _compiled_template(text):
        if isinstance(part, str):
            words.append(part)
            continue
        label = f"value_{len(values) + 1}"
        values[label] = _guarded(text, functools.partial(_value, part, names, ask=False))
        words.append(f"[{label}]")
    return "".join(words), values


def references(text: str, *, template: bool = False) -> frozenset[str]:
    """Return ids of the steps whose outputs an expression, or the expressions of a template, read.

    :raises ExpressionError: it does not compile.
    """
    parsed = parse_template(text) if template else parse_expression(text)
    parsed.raise_first()
    return frozenset(reference.step for reference in parsed.steps)


def _render_text(text: str, names: Mapping[str, Any]) -> Any:
    if not has_expressions(text):
        return text
    parts = _compiled_template(text)
    if len(parts) == 1 and not isinstance(parts[0], str):
        single = parts[0]
        return _guarded(text, lambda: _value(single, names, ask=False))
    return _guarded(
        text,
        lambda: joined([part if isinstance(part, str) else text_of(_value(part, names, ask=False)) for part in parts]),
    )


def _value(compiled: TemplateExpression, names: Mapping[str, Any], *, ask: bool = True) -> Any:
    scope = {"ask": ASK, **names} if ask else names
    result = compiled(scope)
    return result if result is ASK else json_value(result)


def _guarded(text: str, compute: Callable[[], Any]) -> Any:
    """Return what `compute` gives; whatever goes wrong in it is the expression's fault."""
    new_budget()
    try:
        return compute()
    except ExpressionError:
        raise
    except TemplateError as error:
        raise ExpressionError(text, error.message or "it cannot be evaluated") from error
    except RecursionError as error:
        raise ExpressionError(text, "values are nested too deep") from error
    except Exception as error:
        raise ExpressionError(text, str(error) or type(error).__name__) from error


@functools.lru_cache(maxsize=_CACHE)
def _compiled_expression(expression: str) -> TemplateExpression:
    parsed = parse_expression(expression)
    parsed.raise_first()
    return _compile(parsed, parsed.nodes[0])


@functools.lru_cache(maxsize=_CACHE)
def _compiled_template(text: str) -> tuple[str | TemplateExpression, ...]:
    parsed = parse_template(text)
    parsed.raise_first()
    return tuple(part if isinstance(part, str) else _compile(parsed, part) for part in parsed.nodes)


def _compile(parsed: Parsed, expression: nodes.Expr) -> TemplateExpression:
    """Compile one parsed expression the way ``Environment.compile_expression`` does."""
    body: list[nodes.Node] = [nodes.Assign(nodes.Name("result", "store"), expression, lineno=1)]
    template = nodes.Template(body, lineno=1)
    template.set_environment(environment())
    try:
        return TemplateExpression(environment().from_string(template), undefined_to_none=False)
    except (TemplateError, SyntaxError, MemoryError, RecursionError) as error:
        raise ExpressionError(parsed.text, f"it does not compile: {error}") from error
