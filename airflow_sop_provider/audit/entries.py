"""One entry of the audit log, and how it is chained to the one before it.

Each execution has a chain of its own: entries are numbered from 1 without a gap, each holds its predecessor's hash,
and its own hash is the SHA-256 of the canonical JSON of everything else in it. The first predecessor is derived from
the execution's id, so that a chain cannot be passed off as that of another execution. Chains of what is no execution
(a control's mode, the engine's own doings) have names that begin with `~`, which no SOP's id does.

The order of a chain is the order of recording; `time` is when the thing happened, so a runner's event that arrives late
stands later than its time says.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from datetime import UTC, datetime
from typing import Any, Literal, get_args

from airflow_sop_provider.audit.canonical import NotCanonicalError, canonical, jsonable, parse
from airflow_sop_provider.audit.masking import Masker

__all__ = [
    "FORMAT",
    "KINDS",
    "LEVELS",
    "SYSTEM_CHAIN",
    "AuditFields",
    "Entry",
    "Kind",
    "Level",
    "audit_time",
    "chain_entry",
    "chain_start",
    "hash_of",
]

FORMAT = "sop-audit/v1"
SYSTEM_CHAIN = "~"
"""How the name of a chain begins that is not an execution's."""

Kind = Literal[
    "start",
    "attempt.begin",
    "attempt.end",
    "action",
    "decision",
    "data.access",
    "tool.call",
    "approval",
    "retry",
    "status",
    "escalation",
    "completion",
    "alert",
    "cancel",
    "mode.change",
    "tool.snapshot",
    "hold",
    "prune",
    "export",
    "agent.model_call",
    "agent.tool_call",
    "agent.status",
    "agent.result",
    "agent.conformance",
    "conformance",
    "note",
]
Level = Literal["debug", "info", "warning", "error"]
KINDS: frozenset[str] = frozenset(get_args(Kind))
LEVELS: tuple[str, ...] = get_args(Level)

_MESSAGE_LIMIT = 2000
_METADATA_LIMIT = 256 * 1024


@dataclass(frozen=True, kw_only=True)
class AuditFields:
    """What somebody has to say; the chain adds the rest.

    :param kind: what it is; see `Kind`. A name that is not known is refused when the entry is made.
    :param component: who says so: ``runner``, ``executor``, ``engine``, ``api``, ``fleet``, ``user:<name>``...
    :param message: one sentence for a person, at most 2,000 characters.
    :param time: when it happened; default: now.
    :param level: ``debug``, ``info``, ``warning``, ``error``.
    :param agent: which agent did it.
    :param step: id of the step; with ``map_index`` (-1 without ``for_each``) and ``attempt`` it names an attempt.
    :param metadata: JSON values; what is none becomes text. Larger than 256 KiB: its hash and size stand for it.
    """

    kind: str
    component: str
    message: str
    time: datetime | str | None = None
    level: str = "info"
    agent: str | None = None
    step: str | None = None
    map_index: int | None = None
    attempt: int | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Entry:
    """An entry as it is stored and exported. Made by `chain_entry`, read by `from_line`; never changed."""

    execution: str
    seq: int
    time: str
    kind: str
    component: str
    level: str
    agent: str | None
    step: str | None
    map_index: int | None
    attempt: int | None
    message: str
    metadata: dict[str, Any]
    previous: str
    hash: str

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON values, every field present."""
        return asdict(self)

    def to_line(self) -> str:
        """Return it as canonical JSON, the form of an export's lines, without line end."""
        return canonical(self.to_dict()).decode()

    @classmethod
    def from_line(cls, line: str | bytes) -> Entry:
        """Read a line of an export.

        :raises NotCanonicalError: if it is not exactly an entry's canonical JSON. Its hash is not checked here.
        """
        return cls.from_dict(parse(line))

    @classmethod
    def from_dict(cls, value: Any) -> Entry:
        """Make an entry of its fields, as they come from a line or a table's row.

        :raises NotCanonicalError: if a field is missing, unknown or of another type.
        """
        if not isinstance(value, dict) or value.keys() != _TYPES.keys():
            raise NotCanonicalError("These are not the fields of an entry.")
        for name, kind in _TYPES.items():
            if not isinstance(value[name], kind) or isinstance(value[name], bool):
                raise NotCanonicalError(f"The entry's `{name}` is of the wrong type.")
        return cls(**value)


_OPTIONAL_TEXT = (str, type(None))
_OPTIONAL_NUMBER = (int, type(None))
_TYPES: dict[str, Any] = {item.name: str for item in fields(Entry)} | {
    "seq": int,
    "agent": _OPTIONAL_TEXT,
    "step": _OPTIONAL_TEXT,
    "map_index": _OPTIONAL_NUMBER,
    "attempt": _OPTIONAL_NUMBER,
    "metadata": dict,
}


def chain_start(execution: str) -> str:
    """Return what the first entry of a chain holds as its predecessor's hash."""
    return hashlib.sha256(f"{FORMAT}\n{execution}".encode()).hexdigest()


def hash_of(entry: Mapping[str, Any]) -> str:
    """Return the hash that an entry's fields must have, whatever its ``hash`` says."""
    return hashlib.sha256(canonical({name: value for name, value in entry.items() if name != "hash"})).hexdigest()


def audit_time(time: datetime | str | None = None) -> str:
    """Return a time as entries hold it: UTC, microseconds, ``Z``; as text these sort like times.

    :param time: None is now; text is ISO 8601; without a zone it counts as UTC.
    :raises ValueError: if a text is no time.
    """
    moment = datetime.now(UTC) if time is None else datetime.fromisoformat(time) if isinstance(time, str) else time
    moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S.%f}Z".rjust(27, "0")


def chain_entry(
    execution: str, previous: str | None, seq: int, said: AuditFields, *, masker: Masker | None = None
) -> Entry:
    """Return the next entry of a chain: masked, made JSON, hashed.

    :param previous: hash of the entry before, None for the first one.
    :param seq: number of the new entry; 1 exactly when ``previous`` is None.
    :param masker: knows secrets by name and by value; default: by name and form only.
    :raises ValueError: if kind, level or number cannot be.
    """
    if said.kind not in KINDS:
        raise ValueError(f"{said.kind!r} is no kind of audit entry; those known are {', '.join(sorted(KINDS))}.")
    if said.level not in LEVELS:
        raise ValueError(f"{said.level!r} is no level; those known are {', '.join(LEVELS)}.")
    if seq < 1 or (seq == 1) != (previous is None):
        raise ValueError(f"Entry {seq} of a chain cannot follow {'nothing' if previous is None else 'another'}.")
    mask = masker or Masker()
    entry = Entry(
        execution=execution,
        seq=seq,
        time=audit_time(said.time),
        kind=said.kind,
        component=jsonable(said.component),
        level=said.level,
        agent=jsonable(said.agent),
        step=jsonable(said.step),
        map_index=said.map_index,
        attempt=said.attempt,
        message=_shortened(mask.text(jsonable(said.message))),
        metadata=_bounded(mask.value(jsonable(said.metadata))),
        previous=previous or chain_start(execution),
        hash="",
    )
    return replace(entry, hash=hash_of(entry.to_dict()))


def _shortened(text: str) -> str:
    return text if len(text) <= _MESSAGE_LIMIT else f"{text[: _MESSAGE_LIMIT - 1]}…"


def _bounded(metadata: dict[str, Any]) -> dict[str, Any]:
    text = canonical(metadata)
    if len(text) <= _METADATA_LIMIT:
        return metadata
    return {"dropped_bytes": len(text), "dropped_sha256": hashlib.sha256(text).hexdigest()}
