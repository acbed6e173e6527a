"""Tool steps through a gateway, by the real program: who records the access, and what the runner says of it."""

from __future__ import annotations

import json

import pytest

from tests.fleet.gateway_parts import served
from tests.runner.conftest import make_assignment
from tests.runner.test_tool_stdio import fleet


@pytest.mark.parametrize(("tool", "ok"), [("structured", True), ("fails", False)])
def test_an_access_has_one_record_and_it_is_the_gateways(program, tool, ok):
    sources = {"data": {"server": "raw", "tools": [tool]}}
    assignment = make_assignment({"tool": f"data.{tool}"}, data_sources=sources)
    with served(json.loads(fleet())["servers"]) as gateway:
        token = program.folder / "token"
        token.write_text(gateway.token(tool))
        result = program.run(assignment, SOP_ENGINE_URL=gateway.url, SOP_ENGINE_TOKEN_FILE=str(token))
    (record,) = gateway.notes.accesses
    said = result.event("tool.call")
    assert "data.access" not in [event["event"] for event in result.events]
    assert (record.server, record.tool, record.ok) == (said["server"], said["tool"], said["ok"]) == ("raw", tool, ok)
    assert record.arguments_digest == said["arguments_digest"]
    assert record.result_digest == said.get("result_digest")
    assert record.code == said.get("code")
