"""Reading expressions without evaluating them: what they use, and what is wrong with them.

Everything that could fail when an expression is compiled is found here, on the syntax tree, so
that validating an SOP needs no compilation, the dearer half of Jinja2's work.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from jinja2 import TemplateSyntaxError, nodes
from jinja2.parser import Parser

from airflow_sop_provider.sop.problems import nearest
from airflow_sop_provider.sop.sandbox import environment

__all__ = [
    "MAX_SOURCE",
    "NAMES",
    "ExpressionError",
    "Finding",
    "Parsed",
    "Reference",
    "parse_expression",
    "parse_template",
    "rule_results",
]

MAX_SOURCE = 8000
"""Longest expression, characters."""

MAX_EXPRESSION_DEPTH = 40
"""Deepest nesting of an expression's syntax tree; Python refuses about 90 nested calls."""

NAMES = frozenset({"inputs", "steps", "item", "execution", "ask", "range"})
"""Every name an expression may use."""

_ALLOWED: tuple[type[nodes.Node], ...] = (
    nodes.Literal, nodes.Pair, nodes.Keyword, nodes.CondExpr, nodes.Filter, nodes.Test, nodes.Call, nodes.Getitem,
    nodes.Getattr, nodes.Slice, nodes.Concat, nodes.Compare, nodes.Operand, nodes.BinExpr, nodes.UnaryExpr, nodes.Name,
)  # fmt: skip
_CLEARER = {
    "unexpected end of template, expected 'end of print statement'.": "the closing `}}` is missing",
    "unexpected 'end of template'": "it ends too early",
}
_REMEDIES = {
    "the closing `}}` is missing": "write `{{ … }}`",
    "it ends too early": "write what comes after the last word",
}
_CACHE = 2048
_CACHED_LENGTH = 300  # of longer ones a cache full would take hundreds of megabytes


class ExpressionError(ValueError):
    """An expression does not compile or cannot be evaluated.

    :param expression: its text.
    :param reason: what is wrong, a sentence without the expression.
    """

    def __init__(self, expression: str, reason: str) -> None:
        super().__init__(expression, reason)
        self.expression = expression
        self.reason = reason

    def __str__(self) -> str:
        short = self.expression if len(self.expression) <= 200 else self.expression[:200] + "…"
        return f"in the expression `{short}`: {self.reason}"


@dataclass(frozen=True, slots=True)
class Finding:
    """Something wrong in an expression; `word` is where in its text, if that is known."""

    code: str
    message: str
    word: str | None = None
    suggestion: str | None = None


@dataclass(frozen=True, slots=True)
class Reference:
    """An output of a step that is read: ``steps.<step>.<output>``; `output` is None where it is not named."""

    step: str
    output: str | None = None


@dataclass(frozen=True, slots=True)
class Parsed:
    """An expression, or a template, taken apart.

    :param nodes: of a template, its texts and expressions in order; of an expression, itself.
    :param steps: outputs of steps that are read.
    :param inputs: inputs that are read.
    :param names: all names that are used.
    :param compared: (step, output, text) where an output is compared with a constant text.
    """

    text: str
    nodes: tuple[Any, ...] = ()
    findings: tuple[Finding, ...] = ()
    steps: frozenset[Reference] = frozenset()
    inputs: frozenset[str] = frozenset()
    names: frozenset[str] = frozenset()
    compared: frozenset[tuple[str, str, str]] = frozenset()

    def raise_first(self) -> None:
        """Raise the first finding, if any.

        :raises ExpressionError: there is one.
        """
        if self.findings:
            first = self.findings[0]
            raise ExpressionError(self.text, f"{first.message}{f' ({first.suggestion})' if first.suggestion else ''}")

    @property
    def is_template(self) -> bool:
        """Whether it holds an expression at all."""
        return any(not isinstance(part, str) for part in self.nodes)


@dataclass(slots=True)
class _Reader:
    """Walks syntax trees and collects."""

    findings: list[Finding] = field(default_factory=list)
    steps: set[Reference] = field(default_factory=set)
    inputs: set[str] = field(default_factory=set)
    names: set[str] = field(default_factory=set)
    compared: set[tuple[str, str, str]] = field(default_factory=set)

    def read(self, node: nodes.Node, depth: int = 0) -> None:
        if depth > MAX_EXPRESSION_DEPTH:
            self.report("expression", "the expression is nested too deep", suggestion="split it over several steps")
            return
        if not isinstance(node, _ALLOWED):
            self.report("expression", f"`{type(node).__name__.lower()}` is not part of expressions")
            return
        if isinstance(node, nodes.Getattr | nodes.Getitem) and self.reference(node):
            return
        if isinstance(node, nodes.Name):
            self.name(node)
        elif isinstance(node, nodes.Compare):
            self.comparison(node)
        elif isinstance(node, nodes.Filter | nodes.Test):
            self.function(node)
        for child in node.iter_child_nodes():
            self.read(child, depth + 1)

    def report(self, code: str, message: str, word: str | None = None, suggestion: str | None = None) -> None:
        finding = Finding(code, message, word, suggestion)
        if finding not in self.findings:
            self.findings.append(finding)

    def name(self, node: nodes.Name) -> None:
        self.names.add(node.name)
        if node.name == "steps":
            self.report("expression", "`steps` stands alone, without the id of a step", "steps",
                        "write `steps.<id>.<output>`")  # fmt: skip
        elif node.name not in NAMES:
            match = nearest(node.name, NAMES)
            hint = f"did you mean `{match}`?" if match else f"text goes into quotes: '{node.name}'"
            self.report("unknown-name", f"the name `{node.name}` is unknown; known are inputs, steps, item, execution",
                        node.name, hint)  # fmt: skip

    def function(self, node: nodes.Filter | nodes.Test) -> None:
        kind = "filter" if isinstance(node, nodes.Filter) else "test"
        known = environment().filters if kind == "filter" else environment().tests
        if node.name not in known:
            match = nearest(node.name, known)
            self.report("expression", f"there is no {kind} `{node.name}`", node.name,
                        f"did you mean `{match}`?" if match else f"docs/sop-language.md lists the {kind}s")  # fmt: skip

    def reference(self, node: nodes.Getattr | nodes.Getitem) -> bool:
        """Take note of ``inputs.a``, ``steps.a`` and ``steps.a.b``; return whether all of `node` was one of them."""
        key, inner = _static_key(node), node.node
        if isinstance(inner, nodes.Name) and inner.name == "inputs" and key is not None:
            self.names.add("inputs")
            self.inputs.add(key)
            return True
        if isinstance(inner, nodes.Name) and inner.name == "steps" and key is not None:
            self.names.add("steps")
            self.steps.add(Reference(key))
            return True
        if isinstance(inner, nodes.Getattr | nodes.Getitem) and key is not None:
            step = _static_key(inner)
            if isinstance(inner.node, nodes.Name) and inner.node.name == "steps" and step is not None:
                self.names.add("steps")
                self.steps.add(Reference(step, key))
                return True
        return False

    def comparison(self, node: nodes.Compare) -> None:
        """Take note of ``steps.a.b == 'text'`` and ``steps.a.b in ['text', ...]``."""
        target = node.expr
        if len(node.ops) != 1 or not isinstance(target, nodes.Getattr | nodes.Getitem):
            return
        inner, output = target.node, _static_key(target)
        if output is None or not isinstance(inner, nodes.Getattr | nodes.Getitem):
            return
        step = _static_key(inner)
        if step is None or not isinstance(inner.node, nodes.Name) or inner.node.name != "steps":
            return
        other = node.ops[0].expr
        listed = other.items if isinstance(other, nodes.List | nodes.Tuple) and "in" in node.ops[0].op else [other]
        for item in listed:
            if isinstance(item, nodes.Const) and isinstance(item.value, str):
                self.compared.add((step, output, item.value))


def _static_key(node: nodes.Getattr | nodes.Getitem) -> str | None:
    if isinstance(node, nodes.Getattr):
        return node.attr
    return node.arg.value if isinstance(node.arg, nodes.Const) and isinstance(node.arg.value, str) else None


def _parsed(text: str, parts: list[Any]) -> Parsed:
    reader = _Reader()
    for part in parts:
        if not isinstance(part, str):
            reader.read(part)
    return Parsed(
        text, tuple(parts), tuple(reader.findings), frozenset(reader.steps), frozenset(reader.inputs),
        frozenset(reader.names), frozenset(reader.compared),
    )  # fmt: skip


def _failed(text: str, message: str, suggestion: str | None = None) -> Parsed:
    return Parsed(text, (text,), (Finding("expression", message, None, suggestion),))


def _parse_guarded(text: str, parse: Callable[[], Parsed]) -> Parsed:
    if len(text) > MAX_SOURCE:
        return _failed(text, f"it is longer than {MAX_SOURCE} characters")
    try:
        return parse()
    except TemplateSyntaxError as error:
        message = error.message or ""
        for theirs, ours in _CLEARER.items():
            message = message.replace(theirs, ours)
        return _failed(text, f"it does not compile: {message}", _REMEDIES.get(message))
    except RecursionError:
        return _failed(text, "the expression is nested too deep")
    except ValueError as error:
        return _failed(text, f"it does not compile: {error}")


def parse_expression(text: str) -> Parsed:
    """Return a bare expression taken apart; never raises, what is wrong is in `findings`."""
    return (_cached_expression if len(text) <= _CACHED_LENGTH else _expression)(text)


def parse_template(text: str) -> Parsed:
    """Return text with ``{{ expressions }}`` taken apart; never raises, what is wrong is in `findings`."""
    if "{{" not in text and "{%" not in text:
        return Parsed(text, (text,))
    return (_cached_template if len(text) <= _CACHED_LENGTH else _template)(text)


def _expression(text: str) -> Parsed:
    stripped = text.strip()
    if stripped.startswith("{{") and stripped.endswith("}}"):
        return _failed(text, "an expression stands bare here, without `{{ }}`", f"write: {stripped[2:-2].strip()}")

    def parse() -> Parsed:
        parser = Parser(environment(), text, state="variable")
        expression = parser.parse_expression()
        if not parser.stream.eos:
            return _failed(text, f"it does not compile: unexpected `{parser.stream.current.value}` after its end",
                           "join the parts with an operator such as `and` or `+`; text goes into quotes")  # fmt: skip
        return _parsed(text, [expression])

    return _parse_guarded(text, parse)


def _template(text: str) -> Parsed:
    def parse() -> Parsed:
        parts: list[Any] = []
        for statement in environment().parse(text).body:
            if not isinstance(statement, nodes.Output):
                name = type(statement).__name__.lower()
                return _failed(text, f"the statement `{name}` in `{{% %}}` is not part of the language",
                               "use `{{ a if condition else b }}`, `when` or `for_each`")  # fmt: skip
            parts += [node.data if isinstance(node, nodes.TemplateData) else node for node in statement.nodes]
        return _parsed(text, parts)

    return _parse_guarded(text, parse)


_cached_expression = functools.lru_cache(maxsize=_CACHE)(_expression)
_cached_template = functools.lru_cache(maxsize=_CACHE)(_template)


def rule_results(expression: nodes.Node) -> tuple[list[Any], bool]:
    """Return the constants a rule may give, and whether it may give nothing as an ``else`` is missing."""
    if isinstance(expression, nodes.CondExpr):
        first, open_first = rule_results(expression.expr1)
        if expression.expr2 is None:
            return first, True
        second, open_second = rule_results(expression.expr2)
        return first + second, open_first or open_second
    return ([expression.value], False) if isinstance(expression, nodes.Const) else ([], False)
