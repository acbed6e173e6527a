"""Cases as executions over REST: what is asked of Airflow, and what its answers come to."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest

from airflow_sop_provider.evals.models import Case
from airflow_sop_provider.evals.on_airflow import AirflowError, OnAirflow
from airflow_sop_provider.sop import check_text
from tests.evals.conftest import SOP


class Answers:
    """Airflow's answers: a login, runs that are over at the second look, XComs by task."""

    def __init__(self) -> None:
        self.runs: dict[str, int] = {}
        self.confs: list[Any] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        path = request.url.path
        if path == "/auth/token":
            good = json.loads(request.content)["password"] == "right"
            return httpx.Response(201 if good else 401, json={"access_token": "t"})
        if request.headers.get("authorization") != "Bearer t":
            return httpx.Response(401, json={})
        if request.method == "POST":
            body = json.loads(request.content)
            known = body["dag_run_id"] in self.runs
            self.runs.setdefault(body["dag_run_id"], 0)
            self.confs.append(body["conf"])
            return httpx.Response(409 if known else 200, json={})
        if path.endswith("/taskInstances"):
            states = {"orders": "success", "judge": "success", "refunds": "skipped", "report": "success"}
            tasks = [{"task_id": task, "state": state, "map_index": -1} for task, state in states.items()]
            return httpx.Response(200, json={"task_instances": tasks, "total_entries": len(tasks)})
        if "/xcomEntries/" in path:
            task = path.split("/taskInstances/")[1].split("/")[0]
            values = {"judge": {"choice": "few"}, "report": {"verdict": "few"}}
            return httpx.Response(200, json={"value": values[task]}) if task in values else httpx.Response(404)
        run = path.rsplit("/", 1)[1]
        self.runs[run] += 1
        return httpx.Response(200, json={"state": "success" if self.runs[run] > 1 else "running"})


def executor(answers: Answers, password: str = "right") -> tuple[OnAirflow, list[Case]]:
    cases = [Case(id=name, inputs={"limit": 3}) for name in "abc"]
    client = httpx.Client(base_url="http://airflow", transport=httpx.MockTransport(answers))
    loaded = check_text(SOP).unwrap()
    return OnAirflow(loaded, client, "u", password, "tok", cases, poll_seconds=0.0, at_once=2), cases


def test_cases_are_started_ahead_and_each_only_once() -> None:
    answers = Answers()
    on_airflow, cases = executor(answers)
    trace = on_airflow.execute(cases[0])
    assert sorted(answers.runs) == ["eval__tok__a", "eval__tok__b"]
    assert answers.confs[0] == {"limit": 3}
    assert (trace.status, trace.execution) == ("COMPLETED", "eval__tok__a")
    assert trace.outputs == {"judge": {"choice": "few"}, "report": {"verdict": "few"}}
    assert (trace.states["refunds"], trace.tools) == ("skipped", ("shop.orders",))
    on_airflow.execute(cases[1])
    assert sorted(answers.runs) == ["eval__tok__a", "eval__tok__b", "eval__tok__c"]


def test_a_refused_login_is_told_without_the_password() -> None:
    on_airflow, cases = executor(Answers(), "wrong-secret")
    with pytest.raises(AirflowError, match="refuses the login") as caught:
        on_airflow.execute(cases[0])
    assert "wrong-secret" not in str(caught.value)
