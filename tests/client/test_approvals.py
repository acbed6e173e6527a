"""`sop approve` against the real app over a real socket, as several people."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from airflow.api_fastapi.auth.managers.simple.user import SimpleAuthManagerUser
from click.testing import CliRunner, Result
from fastapi.testclient import TestClient

from airflow_sop_provider.cli.app import app
from tests.api.test_approvals import ROLES, _people, as_user, signed, wait_for

__all__ = ["_people", "as_user", "signed", "wait_for"]


@pytest.fixture
def approve(url: str, client: TestClient) -> Callable[..., Result]:
    """Run ``sop approve`` as a user."""

    def run(name: str, *arguments: Any) -> Result:
        user = SimpleAuthManagerUser(username=name, role=ROLES[name])
        token = str(client.app.state.auth_manager.generate_jwt(user))  # type: ignore[attr-defined]
        given = ["approve", *map(str, arguments), "--url", url]
        return CliRunner().invoke(app, given, env={"SOP_TOKEN": token})

    return run


def test_what_waits_is_listed_for_those_who_may_answer(wait_for, approve) -> None:
    waiting = wait_for()
    number = waiting.approval.id
    listed = approve("anna")
    assert listed.exit_code == 0
    assert str(number) in listed.output
    assert "0 of 2" in listed.output
    assert "nothing waits for you" in approve("carl").output
    assert waiting.sop in approve("carl", "--all").output
    assert [one["id"] for one in json.loads(approve("anna", "--json").output)] == [number]
    assert json.loads(approve("anna", "--json", "--sop", "another").output) == []


def test_one_is_shown_and_answered_by_two(wait_for, approve) -> None:
    waiting = wait_for()
    number = waiting.approval.id
    shown = approve("carl", number).output
    assert f"{number}: Sign it (waiting)" in shown
    assert "2 of treasury, carl, not carl" in shown
    assert "you cannot answer: carl triggered the execution" in shown
    assert waiting.approval.subject_digest in shown
    first = approve("anna", number, "--choice", "approved", "--comment", "fine", "--meaning", "reviewed")
    assert first.exit_code == 0
    assert "anna approved" in first.output
    last = json.loads(approve("bob", number, "--choice", "approved", "--json").output)
    assert (last["state"], last["answers"][0]["meaning"]) == ("approved", "reviewed")


def test_exit_codes_tell_why_an_answer_does_not_count(wait_for, approve) -> None:
    number = wait_for().approval.id
    refused = approve("carl", number, "--choice", "approved")
    assert (refused.exit_code, "does not count: carl triggered" in refused.output) == (3, True)
    assert approve("vera", number, "--choice", "approved").exit_code == 3
    assert approve("anna", number, "--choice", "rejected").exit_code == 0
    assert approve("bob", number, "--choice", "approved").exit_code == 4
    assert approve("anna", number + 1000).exit_code == 4


@pytest.mark.parametrize(
    "arguments", [("--choice", "approved"), (1, "--comment", "x"), ("--meaning", "x"), ("nonsense",)]
)
def test_half_an_answer_is_none(approve, arguments: tuple[Any, ...]) -> None:
    assert approve("anna", *arguments).exit_code == 2
