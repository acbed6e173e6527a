"""Runner endpoints: opened by the token of a running attempt, by nothing of Airflow's and by no other attempt's."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from airflow.utils.session import create_session
from fastapi.testclient import TestClient
from sqlalchemy import select, update

from airflow_sop_provider.airflow_settings import ApiLimits
from airflow_sop_provider.api.runner_auth import signing_key
from airflow_sop_provider.contract.attempt import AttemptKey
from airflow_sop_provider.engine.runner_tokens import RunnerTokenError, attempt_of_token, key_of_secret, runner_token
from airflow_sop_provider.runner.agents.budget import Spent
from airflow_sop_provider.runner.agents.checkpoint import EngineCheckpoint, NoCheckpoint, Progress
from airflow_sop_provider.store.attempts import AttemptBegin, AttemptEnd, begin_attempt, end_attempt
from airflow_sop_provider.store.executions import open_execution
from airflow_sop_provider.store.spending import spent_by_agents
from airflow_sop_provider.store.tables import AttemptRow
from tests.api.test_recent import statements
from tests.client.conftest import url
from tests.store.facts import attempt_key, context_of, run_facts

__all__ = ["url"]

V1 = "/api/v1/runner"
NOW = datetime.now(UTC)


@pytest.fixture
def key() -> AttemptKey:
    key = attempt_key()
    with create_session() as session:
        execution = open_execution(session, run_facts(), context_of())
        begin_attempt(session, execution, AttemptBegin(key=key, kind="step"))
    return key


def caller(client, key: AttemptKey, **changes) -> TestClient:
    token = runner_token(
        key, changes.get("signed_with", signing_key()), timeout_seconds=60, now=changes.get("now", NOW)
    )
    return TestClient(client.app, headers={"Authorization": f"Bearer {token}"})


def event(seq: int) -> dict:
    return {"seq": seq, "time": NOW.isoformat(), "event": "action", "action": "tool"}


def test_events_are_stored_once(client, key) -> None:
    runner = caller(client, key)
    assert runner.post(f"{V1}/events", json={"events": [event(1), event(2)]}).json() == {"stored": 2}
    assert runner.post(f"{V1}/events", json={"events": [event(2), event(3)]}).json() == {"stored": 3}
    with create_session() as session:
        assert session.scalars(select(AttemptRow)).one().events_seen == 3


def test_a_heartbeat_is_one_statement_and_a_sign_of_life(client, key) -> None:
    runner = caller(client, key)
    runner.post(f"{V1}/events", json={"events": [event(1)]})
    with create_session() as session:
        session.execute(update(AttemptRow).values(heartbeat_at=NOW - timedelta(days=1)))
    with statements() as said:
        answer = runner.post(f"{V1}/events", json={"events": [{**event(0), "event": "heartbeat"}]})
    assert answer.json() == {"stored": 1}
    assert len(said) == 1, said
    with create_session() as session:
        assert session.scalars(select(AttemptRow.heartbeat_at)).one() >= NOW - timedelta(minutes=10)


def test_a_heartbeat_says_nothing_for_an_attempt_that_is_over(client, key) -> None:
    with create_session() as session:
        execution = open_execution(session, run_facts(), context_of())
        end_attempt(session, execution, AttemptEnd(key=key, state="succeeded"))
    answer = caller(client, key).post(f"{V1}/events", json={"events": [{**event(0), "event": "heartbeat"}]})
    assert (answer.status_code, "over" in answer.text) == (401, True)
    with create_session() as session:
        assert session.scalars(select(AttemptRow.heartbeat_at)).one() is None


def test_a_checkpoint_is_kept_for_the_next_attempt(client, key) -> None:
    runner = caller(client, key)
    assert runner.get(f"{V1}/checkpoint").json() == {}
    assert runner.put(f"{V1}/checkpoint", json={"done": ["a"]}).status_code == 200
    later = key.model_copy(update={"attempt": 2, "task_instance_id": "later"})
    with create_session() as session:
        execution = open_execution(session, run_facts(), context_of())
        begin_attempt(session, execution, AttemptBegin(key=later, kind="step"))
    second = caller(client, later)
    assert second.get(f"{V1}/checkpoint").json() == {"done": ["a"]}
    assert second.put(f"{V1}/checkpoint", json={"done": ["a", "b"]}).status_code == 200
    assert runner.put(f"{V1}/checkpoint", json={}).status_code == 409, "it was overtaken"


async def test_an_agents_progress_comes_back_as_it_was(client, key, url, tmp_path) -> None:
    """The runner's own client against the real endpoint: both sides mean the same."""
    token = tmp_path / "token"
    token.write_text(runner_token(key, signing_key(), timeout_seconds=60, now=NOW))
    kept = EngineCheckpoint(f"{url}/sop", token, NoCheckpoint())
    assert await kept.load() is None
    progress = Progress(outputs={"second": 2, "first": {"b": 1, "a": 2}})
    await kept.save(progress)
    found = await kept.load()
    assert found == progress
    assert list(found.outputs) == ["second", "first"], "the order in which the steps were done"


async def test_what_other_steps_spent_comes_with_the_answer_and_stands_in_the_execution(
    client, key, url, admin, tmp_path
) -> None:
    others = [attempt_key("classify"), attempt_key("licences", map_index=3)]
    for number, other in enumerate(others, start=1):
        with create_session() as session:
            execution = open_execution(session, run_facts(), context_of())
            begin_attempt(session, execution, AttemptBegin(key=other, kind="step"))
        spent = Progress(spent=Spent(input_tokens=100 * number, model_calls=1, cost=0.25))
        answer = caller(client, other).put(f"{V1}/checkpoint", json=spent.model_dump(mode="json"))
    assert answer.json()["spent_elsewhere"]["input_tokens"] == 100, "of the other one alone"
    token = tmp_path / "token"
    token.write_text(runner_token(key, signing_key(), timeout_seconds=60, now=NOW))
    found = await EngineCheckpoint(f"{url}/sop", token, NoCheckpoint()).save(Progress(spent=Spent(input_tokens=7)))
    assert (found.input_tokens, found.model_calls, found.cost) == (300, 2, 0.5)
    with create_session() as session:
        execution = open_execution(session, run_facts(), context_of())
        assert spent_by_agents(session, execution.id)["input_tokens"] == 307


def test_other_tokens_open_nothing(client, key, admin) -> None:
    for stranger in (
        admin,
        caller(client, key, signed_with=key_of_secret("another secret")),
        caller(client, key, now=NOW - timedelta(days=9)),
        caller(client, key.model_copy(update={"task_instance_id": "never begun"})),
    ):
        answer = stranger.post(f"{V1}/events", json={"events": []})
        assert answer.status_code == 401
        assert "Bearer" in answer.headers["WWW-Authenticate"]


def test_a_runners_token_opens_nothing_else(client, key) -> None:
    assert caller(client, key).get("/api/v1/executions").status_code in (401, 403)


def test_a_token_ends_with_its_attempt(client, key) -> None:
    with create_session() as session:
        execution = open_execution(session, run_facts(), context_of())
        end_attempt(session, execution, AttemptEnd(key=key, state="succeeded"))
    answer = caller(client, key).get(f"{V1}/checkpoint")
    assert (answer.status_code, "over" in answer.text) == (401, True)


def test_a_body_has_a_limit(client, key) -> None:
    runner = caller(client, key)
    big = {"events": [{**event(1), "text": "x" * ApiLimits().runner_body_bytes}]}
    assert runner.post(f"{V1}/events", json=big).status_code == 413
    assert runner.post(f"{V1}/events", json={"events": [event(1)] * 1001}).status_code == 422
    assert runner.post(f"{V1}/events", json={"events": [{"seq": "one"}]}).status_code == 422
    assert runner.post(f"{V1}/events", content=iter([b"{}"])).status_code == 411


def test_a_token_says_which_attempt_and_until_when(key) -> None:
    secret = key_of_secret("s")
    token = runner_token(key, secret, timeout_seconds=60, now=NOW)
    assert attempt_of_token(token, secret, now=NOW) == key
    with pytest.raises(RunnerTokenError, match="expired"):
        attempt_of_token(token, secret, now=NOW + timedelta(hours=2))
    with pytest.raises(RunnerTokenError, match="not one of ours"):
        attempt_of_token(f"{token[:-2]}xx", secret)
    with pytest.raises(ValueError, match="jwt_secret"):
        key_of_secret("")
