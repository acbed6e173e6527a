"""`sop fleet snapshot` against the engine's app on a socket, and a real MCP server behind it."""

from __future__ import annotations

import json

import pytest
from airflow.utils.session import create_session
from sqlalchemy import select

from airflow_sop_provider.api.fleet import AirflowServers
from airflow_sop_provider.cli import main
from airflow_sop_provider.store.tables import ToolSnapshotRow
from tests.fleet.conftest import raw  # noqa: F401  a fixture: an MCP server

SOP = """\
sop: {sop}
version: 1.0.0
title: Reads
data_sources:
  data: {{server: raw, tools: [structured, plain_text]}}
steps:
  - id: read
    tool: data.structured
"""


def test_the_tools_of_an_sop_are_taken_as_validated(client, url, token, chain, raw, tmp_path, monkeypatch, capsys):  # noqa: F811
    fleet = tmp_path / "fleet.yaml"
    fleet.write_text(json.dumps({"servers": {"raw": {"transport": "http", "url": raw.url}}}))
    client.app.state.fleet.calls.servers = AirflowServers(fleet)
    file = tmp_path / "reads.yaml"
    file.write_text(SOP.format(sop=chain))
    monkeypatch.setenv("SOP_TOKEN", token)
    with pytest.raises(SystemExit) as ended:
        main(["fleet", "snapshot", str(file), "--url", url])
    assert ended.value.code == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == ["raw.structured", "raw.plain_text"]
    with create_session() as session:
        rows = session.scalars(select(ToolSnapshotRow)).all()
        assert {(row.sop, row.tool, row.validated_by) for row in rows} == {
            (chain, "structured", "admin"),
            (chain, "plain_text", "admin"),
        }
