"""Expressions cannot reach Python, and cannot make much of little."""

from __future__ import annotations

import contextlib
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_sop_provider.sop import ExpressionError, evaluate, render
from airflow_sop_provider.sop.expression_syntax import parse_expression
from airflow_sop_provider.sop.sandbox import environment

NAMES = {"inputs": {"a": "text", "l": [1], "d": {"k": 1}, "big": "x" * 900_000, "many": ["x" * 1000] * 900}}

ESCAPES = [
    "''.__class__",
    "''.__class__.__mro__[1].__subclasses__()",
    "''['__class__']",
    "inputs.__class__",
    "inputs['__class__']",
    "inputs.l.__len__",
    "inputs.l | attr('__class__')",
    "inputs.l | map(attribute='__class__') | list",
    "inputs.l | map('attr', '__class__') | list",
    "[''] | map(attribute='__class__.__mro__') | list",
    "[''] | selectattr('__class__') | list",
    "['', 'a'] | sort(attribute='__class__')",
    "[''] | groupby('__class__')",
    "[''] | sum(attribute='__class__')",
    "[''] | join(attribute='__class__')",
    "'{0.__class__}'.format(1)",
    "'{0.__class__.__init__.__globals__}'.format_map(inputs)",
    "'%(__class__)s' % inputs",
    "inputs.a.format.__self__",
    "self",
    "self.__init__.__globals__",
    "cycler.__init__.__globals__.os",
    "joiner",
    "namespace(x=1)",
    "lipsum()",
    "dict(a=1)",
    "loop",
    "caller()",
    "varargs",
    "context",
    "environment",
    "range.__self__",
    "range(3).__class__",
    "inputs.l.append(2)",
    "inputs.l.clear()",
    "inputs.d.update({'x': 1})",
    "inputs.d.pop('k')",
    "inputs.d.__setitem__('k', 2)",
    "inputs.a.encode()",
    "(1).real",
    "(1).to_bytes(10)",
    "true.__class__",
    "ask.__class__",
    "(inputs.a.upper).__self__",
    "(inputs.a.upper).__func__.__globals__",
    "(inputs.gone).__class__",
    "inputs.gone._fail_with_undefined_error",
    "inputs.gone._undefined_obj",
    "'' | filter('map')",
    "['a'] | random",
    "'<b>' | safe",
    "'x' | pprint",
    "{} | xmlattr",
]


@pytest.mark.parametrize("expression", ESCAPES)
def test_escape_is_refused(expression: str):
    before = repr(NAMES["inputs"]["l"]) + repr(NAMES["inputs"]["d"])
    with pytest.raises(ExpressionError):
        evaluate(expression, NAMES)
    with pytest.raises(ExpressionError):
        render("{{ " + expression + " }}", NAMES)
    assert repr(NAMES["inputs"]["l"]) + repr(NAMES["inputs"]["d"]) == before


GROWTH = [
    "'x' * 10 ** 9",
    "10 ** 9 * 'x'",
    "[0] * 10 ** 9",
    "10 ** (10 ** 10)",
    "9 ** 99999",
    "(2 ** 9999) * (2 ** 9999)",
    "2 ** -99999999",
    "range(10 ** 9)",
    "range(0, -(10 ** 12), -1)",
    "inputs.big ~ inputs.big",
    "inputs.big + inputs.big",
    "inputs.l * 999999 + inputs.l * 999999",
    "'%999999999d' % 1",
    "'%.999999999f' | format(1.0)",
    "'%*d' % (999999999, 1)",
    "'%(a)s%(a)s' % {'a': inputs.big}",
    "'x'.ljust(10 ** 9)",
    "'x'.zfill(10 ** 9)",
    "'x'.center(10 ** 9)",
    "'x' | center(10 ** 9)",
    "'x' | indent(10 ** 9)",
    "'a\nb' | indent(inputs.big)",
    "inputs.big | replace('x', 'xxxxxxxx')",
    "inputs.big.replace('x', 'xx')",
    "inputs.big.join(['a', 'b', 'c'])",
    "[inputs.big, inputs.big] | join",
    "[1] | batch(10 ** 9, 0) | list",
    "2.5 | round(10 ** 9)",
    "2.5 | round(999999, 'ceil')",
    "1 | tojson(10 ** 9)",
    "range(100000) | map('replace', '0', inputs.big) | list",
    "range(100000) | map('format', inputs.big) | list",
    "range(100000) | map('string') | map('join', inputs.big) | list",
    "[inputs.big, inputs.big, inputs.big, inputs.big, inputs.big, inputs.big, inputs.big, inputs.big, inputs.big, "
    "inputs.big, inputs.big, inputs.big] | string",
    "[inputs.many, inputs.many, inputs.many, inputs.many, inputs.many, inputs.many, inputs.many, inputs.many, "
    "inputs.many, inputs.many, inputs.many, inputs.many]",
    "[range(100000) | list] | sum(start=range(100000) | list) | map('string') | join(inputs.big)",
]


@pytest.mark.parametrize("expression", GROWTH)
def test_growth_is_refused(expression: str):
    with pytest.raises(ExpressionError):
        evaluate(expression, NAMES)


@pytest.mark.slow
def test_growth_is_refused_before_it_happens():
    """All of them together, in a process of their own, never take much memory at once."""
    code = (
        "import resource\n"
        "from tests.sop.test_sandbox import GROWTH, NAMES, ExpressionError, evaluate\n"
        "start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "for expression in GROWTH:\n"
        "    try: evaluate(expression, NAMES)\n"
        "    except ExpressionError: pass\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - start)"
    )
    grown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(grown.stdout) < 200 * 1024  # KiB


@pytest.mark.parametrize(
    "expression",
    [
        "(" * 500 + "1" + ")" * 500,
        "[" * 100 + "]" * 100,
        "-" * 300 + "1",
        "1" + " + 1" * 200,
        "not " * 200 + "1",
        "1" * 5000,
        "x" * 9000,
        "inputs" + ".a" * 500,
        "1" + " | abs" * 500,
        "\x00",
        "'\\N{x}'",
        "1 if 1 else " * 100 + "1",
    ],
)
def test_odd_expressions_are_refused(expression: str):
    with pytest.raises(ExpressionError):
        evaluate(expression, NAMES)


@pytest.mark.parametrize(
    "unit",
    [
        "({})",
        "[{}]",
        "-{}",
        "{} + 1",
        "1 + ({})",
        "not {}",
        "{} | default(0)",
        "(1 if {} else 2)",
        "{}.a",
        "{}[0]",
        "{} ~ 'x'",
        "{} ** 2",
        "(2 ** ({}))",
        "{} is defined",
        "[1, {}][0:1]",
        "{} == 1 and 1",
        "inputs.d.get({})",
        "{{'a': {}}}",
        "1 | default({})",
    ],
)
def test_whatever_is_accepted_also_compiles(unit: str):
    """The depth that reading accepts is one that Python's compiler takes, whatever is nested."""
    text = "inputs.a"
    for _ in range(60):
        deeper = unit.format(text)
        if parse_expression(deeper).findings:
            break
        text = deeper
    environment().compile_expression(text, undefined_to_none=False)


@given(st.text(alphabet="()[]{}'\"|.,~*%+-/=<>! \n1aisteps_inputslif", max_size=60))
def test_random_text_raises_nothing_else(text: str):
    with contextlib.suppress(ExpressionError):
        evaluate(text, NAMES)
    with contextlib.suppress(ExpressionError):
        render("{{" + text + "}}", NAMES)
