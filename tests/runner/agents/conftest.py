"""Agents on real ADK and real MCP servers, with a scripted model."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.runner.conftest import Result, attempt, program  # noqa: F401 - fixtures

SERVER = Path(__file__).with_name("server.py")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What carries out an agent loads ADK and starts an MCP server: a second and more of processor time for each."""
    for item in items:
        if item.path.parent == SERVER.parent and {"attempt", "program"} & set(getattr(item, "fixturenames", ())):
            item.add_marker("slow")


def fleet_of(folder: Path) -> str:
    """A fleet with the test server; what it did is in ``calls.jsonl`` of the folder."""
    server = {"transport": "stdio", "command": "python", "args": [str(SERVER), str(folder)], "timeout": 30}
    return json.dumps({"servers": {"vendors-server": server}})


SOURCES = {"vendors": {"server": "vendors-server", "tools": ["history", "freeze", "fail"]}}


@pytest.fixture
def script(tmp_path: Path) -> Callable[..., dict[str, Any]]:
    """Write a script and return the `agent` part of a payload that uses it."""

    def write(name: str = "script", *, agent: dict[str, Any] | None = None, **parts: Any) -> dict[str, Any]:
        path = tmp_path / f"{name}.yaml"
        path.write_text(json.dumps(parts))
        return {"model": f"scripted:{path}", **(agent or {})}

    return write


@pytest.fixture
def calls(tmp_path: Path) -> Callable[[], list[Any]]:
    """What the test server was really asked to do."""

    def read() -> list[Any]:
        path = tmp_path / "calls.jsonl"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    return read


@pytest.fixture
def whole(attempt: Callable[..., Result], tmp_path: Path) -> Callable[..., Result]:  # noqa: F811
    """Carry out a whole SOP by one agent."""

    def run(steps: list[dict[str, Any]], agent: dict[str, Any], **parts: Any) -> Result:
        sop = {"sop": "demo", "version": "1", "title": "Demo", "data_sources": SOURCES, "steps": steps}
        return attempt(
            sop | parts.pop("sop_parts", {}), fleet_of(tmp_path), kind="agent_centric", agent=agent,
            data_sources=SOURCES, **parts,
        )  # fmt: skip

    return run
