"""Tool steps over stdio, against servers that behave and servers that do not."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

SERVER = str(Path(__file__).with_name("raw_server.py"))


def fleet(**server) -> str:
    raw = {"transport": "stdio", "command": sys.executable, "args": ["-S", SERVER], **server}
    return json.dumps({"servers": {"raw": raw}})


@pytest.fixture
def call(attempt):
    def run(tool: str, arguments=None, server=None, allowed=None, **parts):
        sources = {"data": {"server": "raw", "tools": [tool] if allowed is None else allowed}}
        step = {"tool": f"data.{tool}", "arguments": arguments or {}}
        return attempt(step, fleet=fleet(**(server or {})), data_sources=sources, **parts)

    return run


@pytest.mark.parametrize(
    ("tool", "outputs"),
    [
        ("structured", {"n": 7}),
        ("json_text", {"n": 8}),
        ("plain_text", "hello"),
        ("nothing", ""),
        ("on_page_two", {"page": 2}),
    ],
)
def test_result(call, tool, outputs):
    result = call(tool)
    assert result.outputs == outputs
    access = result.event("data.access")
    assert (access["server"], access["tool"], access["ok"]) == ("raw", tool, True)
    assert access["bytes"] > 0
    assert len(access["arguments_digest"]) == len(access["result_digest"]) == 64


@pytest.mark.parametrize(
    ("tool", "failure"),
    [
        ("fails", ("permanent", "mcp-tool-error", 69)),
        ("fails_for_now", ("transient", "mcp-tool-error", 75)),
        ("breaks_schema", ("permanent", "mcp-invalid-result", 65)),
        ("omits_structure", ("permanent", "mcp-invalid-result", 65)),
        ("not_a_result", ("permanent", "mcp-invalid-result", 65)),
        ("image", ("permanent", "mcp-unsupported-content", 65)),
        ("too_much", ("permanent", "output-too-large", 65)),
        ("dies", ("transient", "mcp-connection-closed", 75)),
        ("invalid_params", ("permanent", "mcp-invalid-arguments", 65)),
        ("internal", ("transient", "mcp-internal-error", 75)),
        ("timeout", ("transient", "mcp-timeout", 75)),
        ("closed", ("transient", "mcp-connection-closed", 75)),
        ("odd", ("permanent", "mcp-protocol", 65)),
        ("no_such_tool", ("permanent", "mcp-unknown-tool", 78)),
    ],
)
def test_failure(call, tool, failure):
    result = call(tool)
    assert result.failure == failure
    assert tool == "too_much" or result.event("data.access")["code"] == failure[1]


def test_tool_failure_keeps_the_servers_words(call):
    assert "no such vendor" in call("fails").verdict.error.message


def test_hanging_server_is_a_timeout(call):
    result = call("hangs", server={"timeout": 1.5})
    assert result.failure == ("transient", "mcp-timeout", 75)


def test_the_steps_own_timeout_counts_too(call):
    assert call("hangs", server={"timeout": 500}, timeout_seconds=1.5).failure[1] == "mcp-timeout"


@pytest.mark.parametrize("allowed", [[], ["structured", "other"]])
def test_tool_that_the_sop_does_not_allow(call, allowed):
    result = call("fails", allowed=allowed)
    assert result.failure == ("permanent", "tool-not-allowed", 77)
    assert [event["event"] for event in result.events] == ["attempt.end"]  # nothing was touched


def test_data_source_that_does_not_exist(attempt):
    assert attempt({"tool": "data.x"}, fleet=fleet()).failure == ("permanent", "tool-not-allowed", 77)


def test_arguments_are_rendered_and_checked_against_the_tools_schema(call):
    assert call("picky", {"n": "{{ inputs.n }}"}, inputs={"n": 1}).outputs == {"n": 1}
    result = call("picky", {"n": "n={{ inputs.n }}"}, inputs={"n": 1})
    assert result.failure == ("permanent", "mcp-invalid-arguments", 65)
    assert result.verdict.error.details == {"path": "$.n"}


def test_server_program_that_does_not_exist(call):
    result = call("structured", server={"command": "no-such-server"})
    assert result.failure == ("permanent", "mcp-server-not-found", 78)


def test_server_that_ends_at_once(call):
    result = call("structured", server={"args": ["-c", "import sys; print('broken install', file=sys.stderr)"]})
    assert result.failure == ("transient", "mcp-connection-closed", 75)
    assert any(line["event"] == "broken install" and line["source"] == "mcp:raw" for line in result.log)


def test_server_unknown_to_the_fleet(attempt):
    sources = {"data": {"server": "elsewhere", "tools": ["x"]}}
    result = attempt({"tool": "data.x"}, fleet=fleet(), data_sources=sources)
    assert result.failure == ("permanent", "fleet", 78)
    assert "it has: raw" in result.verdict.error.message


def test_without_a_fleet(attempt):
    sources = {"data": {"server": "raw", "tools": ["x"]}}
    assert attempt({"tool": "data.x"}, data_sources=sources).failure == ("permanent", "no-fleet", 78)


def test_secrets_reach_the_server_and_nothing_else(call, monkeypatch):
    monkeypatch.setenv("RAW_TOKEN", 's3cr"et-value')
    result = call("leaks", server={"env": {"TOKEN": "${RAW_TOKEN}"}})
    assert result.failure[1] == "mcp-tool-error"
    for name in ("verdict.json", "termination", "events.jsonl", "log.jsonl"):
        text = (result.folder / name).read_text()
        assert "s3cr" not in text, name
    assert "bad token ***" in result.verdict.error.message


def test_missing_secret(call, monkeypatch):
    monkeypatch.delenv("RAW_TOKEN", raising=False)
    result = call("structured", server={"env": {"TOKEN": "${RAW_TOKEN}"}})
    assert result.failure == ("permanent", "fleet-variable-missing", 78)
    assert "`${RAW_TOKEN}`" in result.verdict.error.message
