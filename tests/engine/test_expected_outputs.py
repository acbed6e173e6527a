"""What an SOP says of the results of tools, step by step and for an agent that does it all."""

from __future__ import annotations

import pytest

from airflow_sop_provider.engine.expected_outputs import expected_outputs
from airflow_sop_provider.sop import check_text

SOP = """\
sop: demo
version: 1.0.0
title: Demo
mode: system_design
data_sources:
  crm: {server: crm-server, tools: [find, close]}
  also: {server: crm-server, tools: [count]}
steps:
  - {id: small, tool: crm.find, outputs: {type: object, maxProperties: 1}}
  - {id: large, tool: crm.find, outputs: {type: object, minProperties: 2}}
  - {id: count, tool: also.count, outputs: {type: integer}}
  - {id: count_again, tool: also.count}
  - {id: sum, compute: {value: "1 + 1"}}
rollback:
  - {id: undo, after: small, tool: crm.close, outputs: {type: boolean}}
"""
SMALL, LARGE = {"type": "object", "maxProperties": 1}, {"type": "object", "minProperties": 2}


@pytest.mark.parametrize(
    ("step", "expected"),
    [
        ("small", {("crm-server", "find"): SMALL}),
        ("count", {("crm-server", "count"): {"type": "integer"}}),
        ("count_again", {}),
        ("sum", {}),
        ("nobody", {}),
        ("undo", {("crm-server", "close"): {"type": "boolean"}}),
        (None, {("crm-server", "find"): {"anyOf": [SMALL, LARGE]}, ("crm-server", "close"): {"type": "boolean"}}),
    ],
)
def test_expected_outputs(step, expected):
    assert expected_outputs(check_text(SOP).unwrap().sop, step) == expected
