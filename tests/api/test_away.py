"""What a caller sees while Airflow's database is away, and what becomes of digests while their second place is full."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
from airflow import settings
from airflow.sdk import ObjectStoragePath
from airflow.utils.session import create_session
from fastapi.testclient import TestClient
from sqlalchemy import event
from sqlalchemy.exc import OperationalError, ProgrammingError

from airflow_sop_provider.api.audit_job import keep_audit_log
from airflow_sop_provider.audit.verify import verify_path
from tests.api.test_executions import address, runs, submit

V1 = "/api/v1"


@pytest.fixture
def broken():
    """Have every statement of this process fail as it does when the server is gone, or with another error."""
    problem: list[Exception] = []

    def fail(*_: object) -> None:
        if problem:
            raise problem[0]

    event.listen(settings.engine, "before_cursor_execute", fail)
    yield problem
    event.remove(settings.engine, "before_cursor_execute", fail)


def away() -> OperationalError:
    return OperationalError("SELECT 1", {}, Exception("server closed the connection unexpectedly"))


def test_who_calls_is_told_to_come_again_and_nothing_was_done(admin, chain, broken) -> None:
    made = submit(admin, chain)
    before = runs(chain)
    broken.append(away())
    for answer in (
        admin.get(f"{address(made)}/status"), admin.get(address(made)), admin.get(f"{V1}/executions"),
        submit(admin, chain, key="k"),
    ):  # fmt: skip
        assert (answer.status_code, answer.headers["Retry-After"]) == (503, "2")
        assert "does not answer" in answer.json()["detail"]
        assert "SELECT" not in answer.text, "nobody is shown our statements"
    broken.clear()
    assert runs(chain) == before
    assert submit(admin, chain, key="k").status_code == 201
    assert admin.get(f"{address(made)}/status").status_code == 200


@pytest.mark.parametrize(
    "mistake",
    [
        ProgrammingError("SELECT nonsense", {}, Exception("syntax error")),
        OperationalError("SELECT 1 FROM sop_execution", {}, Exception("no such table: sop_execution")),
    ],
)
def test_a_mistake_is_no_moment_to_wait_for(admin, chain, broken, mistake) -> None:
    status = f"{address(submit(admin, chain))}/status"
    broken.append(mistake)
    assert TestClient(admin.app, headers=admin.headers, raise_server_exceptions=False).get(status).status_code == 500


def test_a_full_second_place_is_filled_later_with_the_same_bytes(admin, chain, tmp_path: Path, monkeypatch) -> None:
    """The disk is full in the middle of a digest's files; what is there meanwhile is no digest."""
    place, room = tmp_path / "digests", [40]
    monkeypatch.setenv("AIRFLOW__SOP__AUDIT_DIGEST_FOLDER", str(place))
    write = ObjectStoragePath.write_bytes

    def until_full(self, data: bytes) -> int:
        written = write(self, data[: room[0]])
        room[0] -= len(data)
        if room[0] < 0:
            room[0] = 0
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return written

    submit(admin, chain)
    with monkeypatch.context() as full:
        full.setattr(ObjectStoragePath, "write_bytes", until_full)
        for _ in range(2):
            with pytest.raises(OSError, match="No space"):
                keep_audit_log(create_session)
    assert not list(place.glob("digest-*.json")), "the digest itself comes last"
    submit(admin, chain)
    keep_audit_log(create_session)
    assert len(list(place.glob("digest-??????.json"))) >= 2
    key = bytes.fromhex((place / "public_key.hex").read_text().strip())
    assert verify_path(place, key=key).problems == []


def test_digests_go_to_any_place_that_airflow_can_write_to(admin, chain, monkeypatch) -> None:
    """Object storage through Airflow's ObjectStoragePath; here fsspec's own in memory."""
    monkeypatch.setenv("AIRFLOW__SOP__AUDIT_DIGEST_FOLDER", "memory://audit/digests")
    submit(admin, chain)
    keep_audit_log(create_session)
    place = ObjectStoragePath("memory://audit/digests")
    names = {path.name for path in place.iterdir()}
    assert {"public_key.hex", "digest-000001.json", "digest-000001.leaves.jsonl"} <= names
