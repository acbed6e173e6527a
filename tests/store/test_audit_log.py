"""From appended entries to an export that verifies: digests, proofs, retention, holds, broken chains."""

from __future__ import annotations

import hashlib
import json
import os
import zipfile
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import delete, event, select, update

from airflow_sop_provider.audit.archive import build_archive
from airflow_sop_provider.audit.entries import AuditFields
from airflow_sop_provider.audit.verify import verify_path
from airflow_sop_provider.engine.execution_state import ExecutionStatus
from airflow_sop_provider.store.attempts import AttemptBegin, AttemptEnd, begin_attempt, end_attempt
from airflow_sop_provider.store.audit_append import append, gathered
from airflow_sop_provider.store.audit_digests import (
    BROKEN,
    count_undigested,
    make_digest,
    proof_of,
    unwritten_digests,
)
from airflow_sop_provider.store.audit_export import UnknownExecutionError, export_of
from airflow_sop_provider.store.audit_keys import KeyFileError, SigningKey
from airflow_sop_provider.store.audit_log import AuditFilter, CursorError, chain_entries, query_entries
from airflow_sop_provider.store.audit_retention import (
    HOLDS,
    RetentionError,
    place_hold,
    prune,
    release_hold,
)
from airflow_sop_provider.store.executions import close_execution, open_execution
from airflow_sop_provider.store.tables import (
    AuditChainRow,
    AuditDigestRow,
    AuditEntryRow,
    ExecutionRow,
    OutboxRow,
    ToolSnapshotRow,
)
from tests.store.facts import attempt_key, context_of, entries_of, run_facts

SOP = "software-licence-review"
NOW = datetime(2026, 11, 26, tzinfo=UTC)
KEY = SigningKey.from_secret("ab" * 32)


def carried_out(session, run_id: str = "manual__1", ended: datetime = NOW) -> ExecutionRow:
    """An execution as the engine records it, from its start to its completion."""
    execution = open_execution(session, run_facts(run_id=run_id), context_of())
    key = attempt_key(run_id=run_id)
    begin_attempt(session, execution, AttemptBegin(key=key, kind="step", runtime="local"))
    end_attempt(session, execution, AttemptEnd(key=key, state="succeeded"))
    close_execution(session, execution, ExecutionStatus.COMPLETED, {"outputs": {"ok": True}}, at=ended)
    session.commit()
    return execution


def digested(session):
    made = make_digest(session, KEY, NOW)
    session.commit()
    return made


def verified(session, path, run_id: str = "manual__1"):
    path.write_bytes(build_archive(export_of(session, SOP, run_id, KEY.public)))
    return verify_path(path, key=KEY.public)


def test_an_execution_of_the_engine_is_exported_and_verifies(session, tmp_path):
    carried_out(session)
    carried_out(session, "manual__2")
    assert count_undigested(session) == 2
    assert digested(session).digest.leaves == 2
    assert count_undigested(session) == 0
    report = verified(session, tmp_path / "x.zip")
    assert report.problems == []
    assert report.digests == 1
    assert report.entries == len(chain_entries(session, f"{SOP}/manual__1")) > 4
    with pytest.raises(UnknownExecutionError):
        export_of(session, SOP, "none", KEY.public)


def test_an_export_says_what_carried_it_out(session, tmp_path):
    """Inputs, outputs, document, chain, digest, image digest, versions of runner, packages, model and tools."""
    context = context_of()
    text = f"sop: {SOP} # as it was executed\n"
    digest = hashlib.sha256(text.encode()).hexdigest()
    facts = run_facts(conf={"vendor": "v"})
    execution = open_execution(session, facts, context.model_copy(update={"digest": digest}), text)
    image = "registry.example/sop-runner@sha256:" + "0" * 64
    key = attempt_key()
    begin_attempt(session, execution, AttemptBegin(key=key, kind="step", runtime="kubernetes"))
    packages = {"google-adk": "2.13.0"}
    events = [
        {"seq": 1, "event": "action", "runner": "0.1.0", "python": "3.11.7", "packages": packages},
        {"seq": 2, "event": "agent.model_call", "model": "gemini-2.5-flash"},
        {"seq": 3, "event": "data.access", "server": "records", "tool": "get"},
    ]
    end_attempt(session, execution, AttemptEnd(key=key, state="succeeded", image=image, events=events))
    session.add(ToolSnapshotRow(sop=SOP, server="records", tool="get", digest="d" * 64, definition={}))
    close_execution(session, execution, ExecutionStatus.COMPLETED, {"outputs": {"ok": True}})
    session.commit()
    session.expire_all()
    digested(session)
    archive = tmp_path / "x.zip"
    assert verified(session, archive).problems == []
    with zipfile.ZipFile(archive) as parts:
        manifest = json.loads(parts.read("manifest.json"))
        assert json.loads(parts.read("inputs.json")) == {"vendor": "v"}
        assert json.loads(parts.read("outputs.json")) == {"ok": True}
        assert parts.read("sop.yaml").decode() == text
        assert {"audit.jsonl", "digest.json", "proof.json", "public_key.hex", "verify.py"} <= set(parts.namelist())
    assert manifest["sop_digest"] == digest
    assert manifest["images"] == [image]
    versions = manifest["versions"]
    assert versions["runners"] == [{"runner": "0.1.0", "python": "3.11.7", "packages": packages}]
    assert "gemini-2.5-flash" in versions["models"]
    assert versions["tools"]["records.get"]["sha256"] == "d" * 64
    assert versions["exported_by"]["sqlalchemy" if "sqlalchemy" in versions["exported_by"] else "SQLAlchemy"]
    (end,) = [one for one in chain_entries(session, execution.name) if one.kind == "attempt.end"]
    assert end.metadata["image"] == image, "and it is part of what was signed"


def test_digests_follow_one_another_and_the_folder_of_them_verifies(session, tmp_path):
    execution = carried_out(session)
    first = digested(session)
    assert digested(session) is None, "nothing has grown"
    append(session, execution.name, [AuditFields(kind="note", component="test", message="later")])
    carried_out(session, "manual__2")
    second = digested(session)
    assert (second.digest.number, second.digest.previous) == (2, first.digest.hash())
    for one in unwritten_digests(session):
        for name, content in one.files.items():
            (tmp_path / name).write_bytes(content)
    report = verify_path(tmp_path, key=KEY.public)
    assert (report.problems, report.digests) == ([], 2)
    signed, leaf, _ = proof_of(session, execution.name)
    assert (signed.digest.number, leaf.seq) == (2, session.scalar(select(AuditChainRow.seq).limit(1)))
    session.execute(update(AuditDigestRow).values(written_to="there"))
    assert list(unwritten_digests(session)) == []


@pytest.mark.parametrize(
    "tamper",
    [
        update(AuditEntryRow).where(AuditEntryRow.seq == 2).values(message="another"),
        update(AuditEntryRow).where(AuditEntryRow.seq == 2).values(meta='{"a":1}'),
        update(AuditEntryRow).where(AuditEntryRow.seq == 2).values(meta="[1]"),
        update(AuditEntryRow).where(AuditEntryRow.seq == 2).values(meta="{"),
        delete(AuditEntryRow).where(AuditEntryRow.seq == 2),
        delete(AuditEntryRow).where(AuditEntryRow.seq > 1),
        update(AuditChainRow).values(head="00" * 32),
    ],
)
def test_a_broken_chain_is_never_signed_and_escalates_once(session, tamper):
    carried_out(session)
    session.execute(tamper)
    session.commit()
    assert digested(session) is None
    assert digested(session) is None
    (row,) = session.scalars(select(OutboxRow).where(OutboxRow.kind == BROKEN)).all()
    assert row.payload["chain"] == f"{SOP}/manual__1"
    assert row.payload["seq"] >= 2


def test_what_was_changed_after_its_digest_is_found_in_the_export(session, tmp_path):
    carried_out(session)
    digested(session)
    session.execute(update(AuditEntryRow).where(AuditEntryRow.seq == 3).values(message="another"))
    codes = {(problem.code, problem.seq) for problem in verified(session, tmp_path / "x.zip").problems}
    assert ("changed", 3) in codes


def test_retention_prunes_what_is_old_signed_and_not_held(session, tmp_path):
    old = NOW - timedelta(days=500)
    for run_id, ended in (("old", old), ("held", old), ("young", NOW - timedelta(days=10))):
        carried_out(session, run_id, ended)
    assert prune(session, NOW) == 0, "no digest covers them"
    digested(session)
    hold = place_hold(session, by="ada", reason="a lawsuit", sop=SOP, run_id="held")
    assert prune(session, NOW) == 1
    session.commit()
    assert [entry.kind for entry in chain_entries(session, f"{SOP}/old")] == ["prune"]
    assert len(chain_entries(session, f"{SOP}/held")) > 4
    digested(session)
    for run_id in ("old", "held", "young"):
        report = verified(session, tmp_path / "x.zip", run_id)
        assert report.problems == []
    assert prune(session, NOW) == 0, "once is enough"
    release_hold(session, hold, by="ada", now=NOW)
    assert prune(session, NOW) == 1
    assert [entry.kind for entry in chain_entries(session, HOLDS)] == ["hold", "hold"]


@pytest.mark.parametrize("scope", [{}, {"sop": SOP}, {"sop": SOP, "run_id": "old"}])
def test_a_hold_holds_what_it_names(session, scope):
    carried_out(session, "old", NOW - timedelta(days=500))
    digested(session)
    place_hold(session, by="ada", reason="x", **scope)
    assert prune(session, NOW) == 0


def test_what_retention_cannot_be_is_refused(session):
    with pytest.raises(RetentionError, match="90 days"):
        prune(session, NOW, days=89)
    with pytest.raises(RetentionError, match="SOP"):
        place_hold(session, by="a", reason="x", run_id="r")
    with pytest.raises(RetentionError, match="reason"):
        place_hold(session, by="a", reason=" ")
    with pytest.raises(RetentionError, match="no legal hold 7"):
        release_hold(session, 7, by="a", now=NOW)


def test_the_key_is_a_file_of_its_owner(tmp_path):
    path = tmp_path / "key"
    key = SigningKey.load_or_create(path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert SigningKey.load_or_create(path).public == key.public
    assert path.read_text() not in repr(key)
    os.chmod(path, 0o640)
    with pytest.raises(KeyFileError, match="chmod 600"):
        SigningKey.load_or_create(path)
    with pytest.raises(KeyFileError, match="64 hex digits"):
        SigningKey.from_secret("short")


def test_pages_go_on_where_they_ended_although_entries_come(session):
    execution = carried_out(session)
    wanted = AuditFilter(execution=execution.name)
    everything = query_entries(session, wanted).entries
    seen, cursor = [], None
    while True:
        page = query_entries(session, wanted, limit=2, cursor=cursor)
        seen += page.entries
        said = AuditFields(kind="note", component="t", message="new", time="2020-01-01T00:00:00Z")
        append(session, execution.name, [said])
        if page.cursor is None:
            break
        cursor = page.cursor
    assert tuple(seen) == everything
    with pytest.raises(CursorError):
        query_entries(session, wanted, cursor="nonsense")


def test_nobody_sees_what_they_may_not(session):
    carried_out(session)
    place_hold(session, by="ada", reason="x")
    assert query_entries(session, AuditFilter(), sops=["other"]).entries == ()
    assert {entry.execution for entry in query_entries(session, AuditFilter(), sops=[SOP]).entries} == {
        f"{SOP}/manual__1"
    }
    assert HOLDS in {entry.execution for entry in query_entries(session, AuditFilter()).entries}


def test_what_a_transaction_says_is_gathered_and_moves_each_head_once(session) -> None:
    moves: list[str] = []

    def count(_: object, __: object, statement: str, *___: object) -> None:
        if statement.startswith("UPDATE sop_audit_chain"):
            moves.append(statement)

    note = AuditFields(kind="note", component="engine", message="one")
    event.listen(session.get_bind(), "before_cursor_execute", count)
    with gathered(session):
        for chain in ("~a", "~b", "~a"):
            append(session, chain, [note, replace(note, message="two")])
        assert entries_of(session, "~a") == []
    assert [entry.message for entry in entries_of(session, "~a")] == ["one", "two", "one", "two"]
    assert [entry.message for entry in entries_of(session, "~b")] == ["one", "two"]
    assert len(moves) == 2
    append(session, "~a", [note])
    assert len(entries_of(session, "~a")) == 5, "after the block as ever"


def test_what_was_gathered_is_not_appended_if_the_transaction_fails(session) -> None:
    def work() -> None:
        with gathered(session):
            append(session, "~a", [AuditFields(kind="note", component="engine", message="one")])
            raise LookupError

    with pytest.raises(LookupError):
        work()
    assert entries_of(session, "~a") == []
