"""Expressions: values keep their types, what is missing is said, what was skipped can be asked about."""

from __future__ import annotations

import pickle

import pytest
from hypothesis import given

from airflow_sop_provider.sop import ASK, ExpressionError, evaluate, references, render
from tests.strategies import json_values

NAMES = {
    "inputs": {"who": "V-1", "list": [3, 1, 2], "items": "a key", "nested": {"a": {"b": 1}}},
    "steps": {
        "history": {"changes": [{"days_ago": 3, "by": "x"}, {"days_ago": 40, "by": "y"}], "none": None},
        "mapped": [{"n": 1}, {"n": 2}],
        "judge": {"choice": "clear"},
    },
    "item": {"name": "n"},
    "execution": {"run_id": "manual"},
}


@pytest.mark.parametrize(
    ("expression", "value"),
    {
        "design's score": ("steps.history.changes | selectattr('days_ago', 'lt', 30) | list | length", 1),
        "comparison": ("steps.judge.choice == 'suspicious'", False),
        "a key before a method": ("inputs.items", "a key"),
        "method": ("inputs.nested.items()", [["a", {"b": 1}]]),
        "item of a list": ("inputs.list[0] + inputs.list[-1]", 5),
        "slice": ("inputs.list[1:]", [1, 2]),
        "nothing": ("steps.history.none", None),
        "iterators become lists": ("inputs.list | map('string')", ["3", "1", "2"]),
        "attribute": ("steps.mapped | map(attribute='n') | sum", 3),
        "sort": ("inputs.list | sort", [1, 2, 3]),
        "group": ("(steps.history.changes | groupby('by'))[0].grouper", "x"),
        "batch": ("range(5) | batch(2)", [[0, 1], [2, 3], [4]]),
        "flatten": ("[[1], [2, 3]] | sum(start=[])", [1, 2, 3]),
        "join": ("inputs.list | join('-')", "3-1-2"),
        "join of an attribute": ("steps.mapped | join(', ', attribute='n')", "1, 2"),
        "concatenation": ("'a' ~ 1 ~ true ~ none", "a1truenull"),
        "format": ("'%05.2f|%s' | format(2.5, 'x')", "02.50|x"),
        "format by name": ("'%(a)s' % {'a': 1}", "1"),
        "replace": ("'a-b-c' | replace('-', '+', 1)", "a+b-c"),
        "replace method": ("'a-b'.replace('-', '')", "ab"),
        "join method": ("','.join(['a', 'b'])", "a,b"),
        "indent": ("'a\nb' | indent(2)", "a\n  b"),
        "round": ("2.567 | round(1)", 2.6),
        "json": ("{'a': [1, none]} | tojson", '{"a": [1, null]}'),
        "dictionary": ("{'a': inputs.who}", {"a": "V-1"}),
        "tuples become lists": ("(1, 2)", [1, 2]),
        "condition": ("1 if inputs.who else 2", 1),
        "and, or, not": ("not (true and false) or false", True),
        "in": ("'x' in ['x', 'y'] and 3 not in inputs.list", False),
        "test": ("inputs.list | select('odd') | list", [3, 1]),
        "power": ("2 ** 10 - 7 // 2 % 3", 1024),
        "negative": ("-inputs.list[0]", -3),
        "split": ("'a,b'.split(',') | last", "b"),
        "string": ("[1, 'a'] | string", '[1, "a"]'),
        "default": ("steps.gone | default('x')", "x"),
        "default of what is in it": ("steps.gone.choice.deep | default('x')", "x"),
        "default of an item": ("steps.gone['choice'][0] | default('x')", "x"),
        "defined": ("steps.gone is defined or steps.gone.x is defined", False),
        "item": ("item.name ~ execution.run_id", "nmanual"),
        "digits stay text": ("'5'", "5"),
    }.values(),
)
def test_value(expression: str, value: object):
    found = evaluate(expression, NAMES)
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("expression", "reason"),
    [
        ("steps.gone.x + 1", "there is no `gone`; there is history, mapped, judge"),
        ("inputs.whom", "there is no `whom`"),
        ("inputs.list[7]", "7"),
        ("1 if false", "no else"),
        ("inputs.list | map(attribute='x') | list", "x"),
        ("1 / 0", "division by zero"),
        ("'a' + 1", "can only concatenate"),
        ("1.0 / 3 * 1e308 * 10", "inf"),
        ("{1: 2}", "not text"),
        ("inputs.who()", "not callable"),
        ("'x'.nothing", "nothing"),
        ("[ask]", "not JSON"),
        ("inputs.who.upper", "not JSON"),
        ("steps", "stands alone"),
        ("1 +", "too early"),
        ("'abc", "compile"),
        ("1 | nothing", "no filter"),
        ("[1] * 'x'", "multiply"),
        ("'%d' % 'x'", "number"),
        ("range(1, 2, 0)", "zero"),
    ],
)
def test_what_fails_says_why(expression: str, reason: str):
    with pytest.raises(ExpressionError, match="in the expression") as error:
        evaluate(expression, NAMES)
    assert reason in str(error.value)


def test_names_that_are_not_given_are_not_known():
    with pytest.raises(ExpressionError, match="`item` is not known here"):
        evaluate("item", {"inputs": {}})


def test_ask():
    assert evaluate("'clear' if false else ask", {}) is ASK
    assert pickle.loads(pickle.dumps(ASK)) is ASK
    with pytest.raises(ExpressionError):
        render("{{ ask }}", {})


def test_templates():
    value = {
        "a": ["{{ inputs.who }}", "{{ inputs.list }}", "n = {{ inputs.list }}!", 3],
        "{{ key }}": "{% raw %}{{ x }}{% endraw %}",
    }
    assert render(value, NAMES) == {"a": ["V-1", [3, 1, 2], "n = [3, 1, 2]!", 3], "{{ key }}": "{{ x }}"}
    assert render("{{ inputs.who }}{{ item.name }}\n", NAMES) == "V-1n\n"
    assert render("{{ true }} {{ none }} {{ 1.5 }}", {}) == "true null 1.5"
    assert render("echo ${#list[@]} {#keep#}", {}) == "echo ${#list[@]} {#keep#}"
    with pytest.raises(ExpressionError, match="statement"):
        render("{% for x in y %}{% endfor %}", {})
    with pytest.raises(ExpressionError, match="there is no `x`"):
        render("a {{ inputs.x }}", NAMES)


@given(json_values)
def test_a_value_passes_through_unchanged(value: object):
    assert evaluate("inputs.x", {"inputs": {"x": value}}) == value
    assert render({"k": "{{ inputs.x }}"}, {"inputs": {"x": value}}) == {"k": value}


def test_references():
    assert references("steps.a.x + steps['b'][0] + (steps.c | length)") == {"a", "b", "c"}
    assert references("text steps.no {{ steps.a.x }} {{ inputs.y }}", template=True) == {"a"}
    assert references("1") == frozenset()
    with pytest.raises(ExpressionError):
        references("steps.")
