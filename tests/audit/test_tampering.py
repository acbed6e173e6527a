"""Whatever one does to a chain is found, and the entry is named."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_sop_provider.audit.chain_check import check_chain, check_complete, read_chain
from airflow_sop_provider.audit.entries import chain_entry
from tests.audit.chains import EXECUTION, FINISHED, chain, finished, lines, rehashed, said

CHANGES = {
    "message": "another",
    "time": "2027-01-01T00:00:00.000000Z",
    "component": "x",
    "level": "error",
    "agent": "a",
    "step": "other",
    "attempt": 9,
    "map_index": 3,
    "metadata": {"n": 99},
    "previous": "0" * 64,
    "hash": "1" * 64,
}
thorough = settings(max_examples=100)


def found(entries):
    return {(problem.code, problem.seq) for problem in check_chain(EXECUTION, entries)}


@thorough
@given(entries=FINISHED)
def test_what_nobody_touched_is_right(entries):
    read, problems = read_chain(lines(entries))
    assert (read, problems) == (entries, [])
    assert check_chain(EXECUTION, entries) == []
    assert check_complete(EXECUTION, entries) == []


@thorough
@given(entries=FINISHED, data=st.data(), field=st.sampled_from(sorted(CHANGES)))
def test_a_changed_entry(entries, data, field):
    at = data.draw(st.integers(0, len(entries) - 1))
    bad = [*entries]
    bad[at] = replace(entries[at], **{field: CHANGES[field]})
    assert found(bad) == {("changed", at + 1)}


@thorough
@given(entries=FINISHED, data=st.data(), field=st.sampled_from(sorted(CHANGES.keys() - {"hash", "previous"})))
def test_a_changed_entry_with_a_hash_of_its_own(entries, data, field):
    at = data.draw(st.integers(0, len(entries) - 2))  # the last one has no successor: digests are for that
    bad = [*entries]
    bad[at] = rehashed(entries[at], **{field: CHANGES[field]})
    assert found(bad) == {("changed", at + 1)}


@thorough
@given(entries=FINISHED, data=st.data())
def test_a_removed_entry(entries, data):
    at = data.draw(st.integers(0, len(entries) - 2))
    assert ("removed", at + 1) in found(entries[:at] + entries[at + 1 :])


@thorough
@given(entries=FINISHED, data=st.data())
def test_two_that_were_swapped(entries, data):
    one, other = data.draw(st.lists(st.integers(0, len(entries) - 1), min_size=2, max_size=2, unique=True))
    bad = [*entries]
    bad[one], bad[other] = bad[other], bad[one]
    assert found(bad) == {("reordered", one + 1), ("reordered", other + 1)}


@thorough
@given(entries=FINISHED, data=st.data(), forged=st.booleans())
def test_an_inserted_or_doubled_entry(entries, data, forged):
    at, place = data.draw(st.integers(0, len(entries) - 1)), data.draw(st.integers(0, len(entries)))
    extra = replace(entries[at])
    if forged:
        extra = chain_entry(EXECUTION, None if at == 0 else entries[at - 1].hash, at + 1, said(message="forged"))
    bad = [*entries[:place], extra, *entries[place:]]
    if forged and at == len(entries) - 1:
        assert any(seq == at + 1 for _, seq in found(bad))
    else:
        assert ("inserted", at + 1) in found(bad)


@thorough
@given(entries=FINISHED, data=st.data())
def test_a_truncated_chain_lacks_its_end(entries, data):
    keep = data.draw(st.integers(1, len(entries) - 1))
    assert {problem.code for problem in check_complete(EXECUTION, entries[:keep])} & {
        "completion-missing",
        "attempt-end-missing",
    }


@thorough
@given(entries=FINISHED, data=st.data())
def test_any_byte_of_the_lines(entries, data):
    text = bytearray(lines(entries))
    at = data.draw(st.integers(0, len(text) - 1))
    text[at] ^= data.draw(st.integers(1, 255))
    read, problems = read_chain(bytes(text))
    assert problems or any(check_chain(execution, read) for execution in {EXECUTION, *(e.execution for e in read)})


def test_an_attempt_without_an_end_is_named():
    entries = [entry for entry in finished(attempts=2) if (entry.kind, entry.attempt) != ("attempt.end", 2)]
    (problem,) = check_complete(EXECUTION, entries)
    assert (problem.code, problem.execution) == ("attempt-end-missing", EXECUTION)
    assert str(problem) == f"{EXECUTION} entry 7: Attempt 2 of step read has no `attempt.end`. [attempt-end-missing]"


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        ("start", "start-missing"),
        ("attempt.begin", "attempt-begin-missing"),
        ("completion", "completion-missing"),
    ],
)
def test_what_is_missing_is_named(kind, code):
    entries = [entry for entry in finished() if entry.kind != kind]
    assert [problem.code for problem in check_complete(EXECUTION, entries)] == [code]


def test_a_chain_of_another_execution_does_not_pass():
    other = chain([said("start"), said("completion")], "pay/other")
    assert {problem.code for problem in check_chain(EXECUTION, other)} == {"foreign"}
    moved = [rehashed(entry, execution=EXECUTION) for entry in other]
    assert ("changed", 1) in found(moved)


def test_a_prune_entry_accounts_for_what_is_gone():
    entries = finished()
    gone = entries[:-1]
    prune = chain_entry(
        EXECUTION,
        entries[-1].hash,
        len(entries) + 1,
        said("prune", metadata={"last_seq": len(gone), "head": gone[-1].hash}),
    )
    assert found([entries[-1], prune]) == set()
    assert ("removed", 1) in found([prune]), "more is gone than it says"
    assert check_complete(EXECUTION, [entries[-1], prune]) == []
