"""Figures over HTTP: only of SOPs that the caller may see, for people and for Prometheus."""

from __future__ import annotations

V1 = "/api/v1"


def test_figures_of_a_window(admin, chain) -> None:
    admin.post(f"{V1}/sops/{chain}/executions", json={})
    got = admin.get(f"{V1}/metrics/summary").json()
    assert (got["counts"]["total"], got["queue_depth"], got["success_rate"]) == (1, 1, None)
    past = {"since": "2020-01-01T00:00:00", "until": "2020-01-02T00:00:00"}
    assert admin.get(f"{V1}/metrics/summary", params=past).json()["counts"]["total"] == 0
    turned = {"since": past["until"], "until": past["since"]}
    assert admin.get(f"{V1}/metrics/summary", params=turned).status_code == 422


def test_figures_for_prometheus(admin, chain) -> None:
    admin.post(f"{V1}/sops/{chain}/executions", json={})
    answer = admin.get(f"{V1}/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    lines = answer.text.splitlines()
    assert "# TYPE sop_executions gauge" in lines
    assert "sop_queue_depth 1" in lines
    assert 'sop_executions{status="failed"} 0' in lines
    assert "sop_success_rate" not in answer.text, "nothing ended, so there is no rate"


def test_nobody_gets_nothing(client) -> None:
    assert client.get(f"{V1}/metrics/summary").status_code == 401
    assert client.get(f"{V1}/metrics").status_code == 401
