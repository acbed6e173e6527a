"""Checks one chain and names what is wrong with it: changed, removed, reordered, inserted or truncated entries.

The entries of a chain have numbers, so a chain that was tampered with can be put back in order first: of several with
one number that which fits to its neighbours is the real one, the others were inserted; numbers that are missing were
removed; what stands elsewhere than its number says was reordered. Then each must have the hash it says, and hold its
predecessor's. Who changes an entry and computes all hashes anew is found by the signed digests (`verify`).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from airflow_sop_provider.audit.canonical import NotCanonicalError
from airflow_sop_provider.audit.entries import Entry, chain_start, hash_of

__all__ = ["Problem", "ProblemCode", "check_chain", "check_complete", "read_chain"]

ProblemCode = Literal[
    "malformed",
    "changed",
    "removed",
    "reordered",
    "inserted",
    "truncated",
    "foreign",
    "attempt-end-missing",
    "attempt-begin-missing",
    "start-missing",
    "completion-missing",
    "digest",
    "signature",
    "head",
    "part",
]


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong.

    :param execution: whose chain it is about, ``seq`` which entry; None where it is about none.
    """

    code: ProblemCode
    message: str
    execution: str | None = None
    seq: int | None = None

    def __str__(self) -> str:
        where = "" if self.execution is None else self.execution + ("" if self.seq is None else f" entry {self.seq}")
        return f"{where}: {self.message} [{self.code}]" if where else f"{self.message} [{self.code}]"


def read_chain(data: bytes, name: str = "audit.jsonl") -> tuple[list[Entry], list[Problem]]:
    """Read the lines of an export; what is no entry is a problem that names its line."""
    entries: list[Entry] = []
    problems: list[Problem] = []
    if data and not data.endswith(b"\n"):
        problems.append(Problem("truncated", f"{name} ends in the middle of a line."))
    for number, line in enumerate(data.removesuffix(b"\n").split(b"\n") if data else (), 1):
        try:
            entries.append(Entry.from_line(line))
        except NotCanonicalError as error:
            problems.append(Problem("malformed", f"Line {number} of {name} is no entry: {error}"))
    return entries, problems


def check_chain(execution: str, entries: Sequence[Entry]) -> list[Problem]:
    """Return what is wrong with the entries of one chain, in the order of its numbers."""
    own = [entry for entry in entries if entry.execution == execution]
    problems = [
        Problem("foreign", f"An entry of {entry.execution} stands in this chain.", execution, entry.seq)
        for entry in entries
        if entry.execution != execution
    ]
    chosen, inserted = _choose(own)
    order = [entry for entry in own if chosen.get(entry.seq) is entry]
    problems += inserted + _misplaced(execution, order) + _missing(execution, chosen) + _broken(execution, chosen)
    return sorted(problems, key=lambda problem: problem.seq or 0)


def check_complete(execution: str, entries: Sequence[Entry]) -> list[Problem]:
    """Return what the chain of an execution that is over lacks: begin and end of attempts, start, completion."""
    present = {entry.kind for entry in entries}
    pruned = "prune" in present
    problems = []
    for kind, other, code in (
        ("attempt.begin", "attempt.end", "attempt-end-missing"),
        ("attempt.end", "attempt.begin", "attempt-begin-missing"),
    ):
        has = {_attempt(entry) for entry in entries if entry.kind == other}
        lacking = {_attempt(e): e for e in entries if e.kind == kind and _attempt(e) not in has}
        problems += [
            Problem(
                "attempt-end-missing" if code == "attempt-end-missing" else "attempt-begin-missing",
                f"Attempt {entry.attempt} of step {entry.step} has no `{other}`.",
                execution,
                entry.seq,
            )
            for entry in lacking.values()
            if not (pruned and kind == "attempt.end")
        ]
    if "start" not in present and not pruned:
        problems.append(Problem("start-missing", "The execution has no `start` entry.", execution))
    if "completion" not in present and not pruned:
        problems.append(Problem("completion-missing", "The execution has no `completion` entry.", execution))
    return problems


def _attempt(entry: Entry) -> tuple[str | None, int, int | None]:
    return entry.step, -1 if entry.map_index is None else entry.map_index, entry.attempt


def _is_right(entry: Entry) -> bool:
    return hash_of(entry.to_dict()) == entry.hash


def _choose(own: Sequence[Entry]) -> tuple[dict[int, Entry], list[Problem]]:
    """Return the real entry of each number, and those that were inserted beside it."""
    candidates: dict[int, list[Entry]] = defaultdict(list)
    for entry in own:
        candidates[entry.seq].append(entry)
    chosen: dict[int, Entry] = {}
    problems: list[Problem] = []
    for seq, rivals in candidates.items():
        wanted = {entry.previous for entry in candidates.get(seq + 1, ())}
        before = {entry.hash for entry in candidates.get(seq - 1, ())}
        real = max(rivals, key=lambda e: _is_right(e) + (e.hash in wanted) + (e.previous in before))
        chosen[seq] = real
        for entry in rivals:
            if entry is not real:
                what = "twice" if entry == real else "again with other content"
                problems.append(Problem("inserted", f"The entry is there {what}.", entry.execution, seq))
    return chosen, problems


def _misplaced(execution: str, order: Sequence[Entry]) -> list[Problem]:
    ranked = sorted(order, key=lambda entry: entry.seq)
    return [
        Problem("reordered", f"It stands where entry {right.seq} belongs.", execution, entry.seq)
        for entry, right in zip(order, ranked, strict=True)
        if entry is not right
    ]


def _missing(execution: str, chosen: dict[int, Entry]) -> list[Problem]:
    """Return the gaps; entries that a `prune` entry accounts for are none."""
    if not chosen:
        return []
    first = min(chosen)
    pruned = {(e.metadata.get("last_seq"), e.metadata.get("head")) for e in chosen.values() if e.kind == "prune"}
    accounted = (first - 1, chosen[first].previous) in pruned
    wanted = range(first if accounted else 1, max(chosen) + 1)
    problems: list[Problem] = []
    gap: list[int] = []
    for seq in [*wanted, None]:
        if seq is not None and seq not in chosen:
            gap.append(seq)
        elif gap:
            what = "The entry was removed." if len(gap) == 1 else f"Entries {gap[0]} to {gap[-1]} were removed."
            problems.append(Problem("removed", what, execution, gap[0]))
            gap = []
    return problems


def _broken(execution: str, chosen: dict[int, Entry]) -> list[Problem]:
    problems = []
    for seq, entry in chosen.items():
        before, after = chosen.get(seq - 1), chosen.get(seq + 1)
        if not _is_right(entry):
            problems.append(Problem("changed", "Its content does not have the hash it says.", execution, seq))
        elif seq == 1 and entry.previous != chain_start(execution):
            problems.append(Problem("changed", "It does not begin the chain of this execution.", execution, seq))
        elif before is not None and entry.previous != before.hash and _is_right(before):
            # which of the two is the wrong one is told by whether the one after it was made with this one
            fits_after = after is None or after.previous == entry.hash
            named, other = (seq - 1, seq) if fits_after else (seq, seq - 1)
            message = f"It is not the one that was there when entry {other} was made, or entry {other} is not."
            problems.append(Problem("changed", message, execution, named))
    return problems
