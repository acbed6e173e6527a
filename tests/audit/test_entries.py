"""An entry says who did what when, hides secrets, and is tied to the one before it."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from datetime import datetime, timedelta, timezone

import pytest

from airflow_sop_provider.audit.canonical import NotCanonicalError
from airflow_sop_provider.audit.entries import (
    KINDS,
    AuditFields,
    Entry,
    audit_time,
    chain_entry,
    chain_start,
    hash_of,
)
from airflow_sop_provider.audit.masking import Masker

SAID = AuditFields(kind="action", component="runner", message="Called a tool", step="read", map_index=-1, attempt=1)


def test_an_entry_is_what_was_said_and_its_place():
    entry = chain_entry("pay/r1", None, 1, replace(SAID, time="2026-01-02T03:04:05+01:00", metadata={"tool": "x.y"}))
    assert (entry.execution, entry.seq, entry.kind, entry.component) == ("pay/r1", 1, "action", "runner")
    assert (entry.step, entry.map_index, entry.attempt, entry.agent) == ("read", -1, 1, None)
    assert entry.time == "2026-01-02T02:04:05.000000Z"
    assert entry.metadata == {"tool": "x.y"}
    assert entry.previous == chain_start("pay/r1") != chain_start("pay/r2")
    assert entry.hash == hash_of(entry.to_dict())


def test_the_next_one_holds_its_hash():
    first = chain_entry("pay/r1", None, 1, SAID)
    second = chain_entry("pay/r1", first.hash, 2, SAID)
    assert second.previous == first.hash
    assert second.hash != first.hash


def test_an_entry_is_its_line():
    entry = chain_entry(
        "pay/r1", None, 1, replace(SAID, message="ünïcode €", metadata={"n": 1.5, "deep": [{"a": None}]})
    )
    assert Entry.from_line(entry.to_line()) == entry
    assert "\n" not in entry.to_line()


@pytest.mark.parametrize(
    "spoil",
    [
        lambda line: line.replace('"seq":1', '"seq":"1"'),
        lambda line: line.replace('"attempt":1', '"attempt":true'),
        lambda line: line.replace('"agent":null,', ""),
        lambda line: line.replace('"seq":1', '"seq":1,"so":1'),
        lambda line: line.replace('"seq":1', '"seq": 1'),
        lambda line: line[:-1],
        lambda line: "[]",
    ],
)
def test_what_is_no_entry_is_refused(spoil):
    line = chain_entry("pay/r1", None, 1, SAID).to_line()
    assert spoil(line) != line
    with pytest.raises(NotCanonicalError):
        Entry.from_line(spoil(line))


@pytest.mark.parametrize(
    ("previous", "seq", "said", "names"),
    [
        (None, 2, SAID, "Entry 2"),
        ("aa", 1, SAID, "Entry 1"),
        (None, 0, SAID, "Entry 0"),
        (None, 1, replace(SAID, kind="acton"), "'acton' is no kind"),
        (None, 1, replace(SAID, level="loud"), "'loud' is no level"),
        (None, 1, replace(SAID, time="yesterday"), "yesterday"),
    ],
)
def test_what_cannot_be_is_refused_by_name(previous, seq, said, names):
    with pytest.raises(ValueError, match=names):
        chain_entry("pay/r1", previous, seq, said)


def test_secrets_are_gone_before_the_hash():
    masker = Masker(["hunter2-hunter2"])
    said = replace(SAID, message="used hunter2-hunter2", metadata={"password": "x", "note": "Bearer abcdefghijk"})
    entry = chain_entry("pay/r1", None, 1, said, masker=masker)
    assert entry.message == "used ***"
    assert entry.metadata == {"password": "***", "note": "Bearer ***"}
    assert entry.hash == hash_of(entry.to_dict())


def test_what_is_too_large_is_bounded_and_stays_provable():
    said = replace(SAID, message="x" * 5000, metadata={"blob": "y" * 300_000})
    entry = chain_entry("pay/r1", None, 1, said)
    assert len(entry.message) == 2000
    assert entry.metadata["dropped_bytes"] > 300_000
    assert len(entry.metadata["dropped_sha256"]) == 64
    assert entry.metadata == chain_entry("pay/r1", None, 1, said).metadata


def test_times_sort_as_text():
    zone = timezone(timedelta(hours=5, minutes=30))
    times = [datetime(2026, 1, 1, 0, 0, 0, 1, tzinfo=zone), datetime(2026, 1, 1), datetime(988, 1, 1)]
    assert sorted(map(audit_time, times)) == [
        "0988-01-01T00:00:00.000000Z",
        "2025-12-31T18:30:00.000001Z",
        "2026-01-01T00:00:00.000000Z",
    ]


def test_every_event_of_a_runner_has_a_kind():
    assert {"action", "decision", "data.access", "attempt.begin", "attempt.end"} <= KINDS
    assert {"agent.model_call", "agent.tool_call", "agent.status", "agent.result"} <= KINDS


def test_it_loads_nothing_but_the_standard_library():
    code = (
        "import sys, airflow_sop_provider.audit.entries; print([m for m in sys.modules if m.split('.')[0] in sys.argv])"
    )
    heavy = ["pydantic", "cryptography", "airflow", "yaml", "jinja2", "click"]
    assert subprocess.check_output([sys.executable, "-c", code, *heavy], text=True).strip() == "[]"
