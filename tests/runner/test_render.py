"""A step without expressions is carried out without the expression language, which takes time to load."""

import json
import subprocess
import sys

import pytest

from airflow_sop_provider.sop.templates import has_expressions

_PROGRAM = """
import json, sys
from airflow_sop_provider.runner.step_context import StepContext
value = json.loads(sys.argv[1])
class Known(StepContext):
    names = {"inputs": {"n": 7}}
context = object.__new__(Known)
print(json.dumps([context.render(value, "command"), "jinja2" in sys.modules]))
"""


@pytest.mark.parametrize(
    ("value", "rendered", "loaded"),
    [
        ({"command": ["true", {"a": 1}], "env": {}}, {"command": ["true", {"a": 1}], "env": {}}, False),
        ({"command": ["sleep", "{{ inputs.n }}"]}, {"command": ["sleep", 7]}, True),
    ],
)
def test_only_what_has_expressions_loads_their_language(value, rendered, loaded) -> None:
    done = subprocess.run([sys.executable, "-c", _PROGRAM, json.dumps(value)], capture_output=True, check=True)
    assert json.loads(done.stdout) == [rendered, loaded]


@pytest.mark.parametrize("value", ["{{ x }}", "{% if x %}", ["a", {"b": ("c", "{{ d")}]])
def test_templates_are_found_wherever_they_stand_and_however_wrong(value) -> None:
    assert has_expressions(value)


@pytest.mark.parametrize("value", ["{ x }", "", 1, None, True, ["{#"], {"{{ key }}": "text"}])
def test_all_else_has_none(value) -> None:
    assert not has_expressions(value)
