"""From a flow to the SOP and the report.

The source jumps from step to step, an SOP has a graph: a step needs all that may come before it, and its `when` says
which way must have been taken. Jumps back and ways that only a failure takes have no place in a graph; they are
reported, and a jump back is left to a person.
"""

from __future__ import annotations

from collections.abc import Iterable

from airflow_sop_provider.importers.flow import (
    Built,
    Entry,
    Flow,
    Imported,
    ImportFailedError,
    Outcome,
    Scope,
    SourceStep,
)
from airflow_sop_provider.importers.texts import approval, clean, comment, dump, one_line, step_id
from airflow_sop_provider.sop import check_text

__all__ = ["assemble", "by_hand"]

_MOST_STEPS = 900
_FIRST_LINE = "# Imported. `sop import` says what was mapped, approximated, refused; read it before you trust this."
_BUG = "the SOP made of it is not valid, which is a bug of the importer:"
_PASSED = "has no step of its own: what follows it follows what comes before"
Way = tuple[str, str | None]
"""A step that comes before, and the option of its decision that leads on."""


def assemble(flow: Flow) -> Imported:
    """Return the SOP and the report.

    :raises ImportFailedError: there is nothing an SOP could do, or too much.
    """
    return _Assembly(flow).imported()


class _Assembly:
    def __init__(self, flow: Flow) -> None:
        self.flow = flow
        self.steps = {step.key: step for step in flow.steps}
        self.order, self.back = _order(flow, self.steps)
        self.forward = {
            (step.key, edge.target, edge.option)
            for step in flow.steps
            for edge in step.edges
            if edge.target is not None and not edge.failure and (step.key, edge.target) not in self.back
        }
        self.ways: dict[str, list[Way]] = {}
        self.open: set[str] = set()  # steps that begin without any other
        self.first: dict[str, str] = {}
        self.last: dict[str, str] = {}
        self.decisions: dict[str, str] = {}
        self.before: dict[str, set[str]] = {}
        self.taken: set[str] = set()
        self.entries: dict[str, Entry] = {}
        self.blocks: list[str] = []

    def imported(self) -> Imported:
        for key in self.order:
            self._ways(key)
            step = self.steps[key]
            if step.build is None:
                self._enter(step, "mapped", (), step.note or _PASSED)
            else:
                self._step(step)
        if not self.blocks:
            raise ImportFailedError("the document has no step that an SOP could carry out")
        if len(self.taken) > _MOST_STEPS:
            raise ImportFailedError(f"the document needs {len(self.taken)} steps; an SOP has {_MOST_STEPS} at most")
        self._rest()
        text = self._text()
        problems = check_text(text).problems
        if problems:
            raise ImportFailedError(f"{_BUG}\n{problems[0].render()}")
        return Imported(text, tuple(self.entries[step.key] for step in self.flow.steps), tuple(self.flow.notes))

    def _ways(self, key: str) -> None:
        """Note which steps come before, those in which nothing is done left out."""
        found: dict[Way, None] = {}
        if key in self.flow.starts:
            self.open.add(key)
        for step in self.order:
            for option in sorted({o for s, t, o in self.forward if s == step and t == key}, key=str):
                if self.steps[step].build is not None:
                    found[(step, option)] = None
                    continue
                found.update(dict.fromkeys(self.ways[step]))
                if step in self.open:
                    self.open.add(key)
        self.ways[key] = list(found)
        before = {way for way, _ in found}
        self.before[key] = before.union(*(self.before[way] for way in before)) if before else set()

    def _step(self, step: SourceStep) -> None:
        assert step.build is not None
        outputs = {key: self.first[key] for key in self.before[step.key] if key in self.first}
        built = step.build(Scope({name: one for name, (one, _) in self.flow.inputs.items()}, outputs))
        body, outcome, note = list(built.body), built.outcome, built.note
        notes = [note] if note else []
        for target in sorted({target for key, target in self.back if key == step.key}):
            again = (
                f"The source goes back to {target} from here, under its own condition. Do so by hand while it holds."
            )
            body.append(approval(f"Again from {one_line(target)}?", again))
            notes.append(f"goes back to `{target}`: an SOP has no loops, a person repeats it")
            outcome = _worse(outcome, "approximated")
        if any(edge.failure for edge in step.edges):
            notes.append(
                "its way after a failure is left out: a failure halts what depends on the step and is escalated"
            )
            outcome = _worse(outcome, "approximated")
        if step.key in self.open and self.ways[step.key]:
            notes.append("the source may begin with it, too; here it waits for what may come before")
            outcome = _worse(outcome, "approximated")
        if step.note:
            notes.append(step.note)
        ids = self._write(step, body, outcome, "; ".join(notes))
        self._enter(step, outcome, tuple(ids), "; ".join(notes))

    def _write(self, step: SourceStep, body: list[dict[str, object]], outcome: str, note: str) -> list[str]:
        ids: list[str] = []
        for index, fields in enumerate(body):
            name = step_id(step.title if index == 0 else f"{ids[0]}_{_suffix(fields)}", self.taken)
            head: dict[str, object] = {"id": name}
            needs = [ids[-1]] if ids else list(dict.fromkeys(self.last[way] for way, _ in self.ways[step.key]))
            if needs:
                head["needs"] = needs
            if index == 0 and (when := self._when(step)) is not None:
                head["when"] = when
            ids.append(name)
            if "decision" in fields:
                self.decisions[step.key] = name
            lines = dump([{**head, **fields}])
            about = f"# {comment(step.kind)} {comment(step.key)}: {outcome}{'. ' + comment(note) if note else ''}\n"
            self.blocks.append((about if index == 0 else "") + lines)
        self.first[step.key], self.last[step.key] = ids[0], ids[-1]
        return ids

    def _when(self, step: SourceStep) -> str | None:
        """Return the condition under which one of the ways to the step was taken, None if any does."""
        if step.key in self.open:
            return None
        ways = self.ways[step.key]
        options: dict[str, set[str]] = {}
        free: set[str] = set()
        for way, option in ways:
            if option is None or way not in self.decisions:
                free.add(way)
            else:
                options.setdefault(way, set()).add(option)
        free |= {way for way, taken in options.items() if taken >= set(self.steps[way].options)}
        chosen = {way: taken for way, taken in options.items() if way not in free}
        if not chosen:
            return None
        alone = len(chosen) + len(free) == 1
        terms = [f"steps.{self.last[way]} is defined" for way in free]
        for way, taken in chosen.items():
            name = self.decisions[way]
            test = (
                f"steps.{name}.choice in {sorted(taken)!r}"
                if len(taken) > 1
                else f"steps.{name}.choice == {min(taken)!r}"
            )
            terms.append(test if alone else f"(steps.{self.last[way]} is defined and {test})")
        return terms[0] if len(terms) == 1 else f"true in [{', '.join(terms)}]"

    def _rest(self) -> None:
        """Account for steps that have no place in the graph."""
        for step in self.flow.steps:
            if step.key in self.entries:
                continue
            outer = self.entries.get(step.inside or "")
            if outer is not None:
                self._enter(step, "refused", outer.steps, f"part of `{outer.source}`, which a person carries out")
                continue
            if step.build is None:
                self._enter(step, "mapped", (), "nothing is done in it, and nothing leads there")
                continue
            after_failure = any(
                edge.failure and edge.target == step.key for other in self.flow.steps for edge in other.edges
            )
            reason = "only a failure leads there; an SOP escalates failures" if after_failure else "nothing leads there"
            self._enter(step, "refused", (), f"left out: {reason}. Carry it out by hand, or add it to the SOP")

    def _enter(self, step: SourceStep, outcome: Outcome, steps: tuple[str, ...], note: str) -> None:
        self.entries[step.key] = Entry(step.key, step.kind, outcome, steps, note)

    def _text(self) -> str:
        flow = self.flow
        head: dict[str, object] = {"sop": flow.sop, "version": "0.1.0", "title": one_line(flow.title, flow.sop),
                                   "mode": "system_design"}  # fmt: skip
        if guidance := clean(flow.description):
            head["guidance"] = guidance
        if flow.inputs:
            head["inputs"] = dict(flow.inputs.values())
        if flow.sources:
            head["data_sources"] = flow.sources
        left = [entry for entry in self.entries.values() if entry.outcome == "refused" and not entry.steps]
        lines = [_FIRST_LINE, *(f"# {comment(note)}" for note in flow.notes)]
        lines += [f"# Left out: {comment(one.kind)} {comment(one.source)}: {comment(one.note)}" for one in left]
        steps = "".join("".join(f"  {line}\n" for line in block.rstrip("\n").split("\n")) for block in self.blocks)
        return "\n".join(lines) + "\n" + dump(head) + "steps:\n" + steps


def _order(flow: Flow, steps: dict[str, SourceStep]) -> tuple[list[str], set[tuple[str, str]]]:
    """Return what can be reached without a failure, prerequisites first, and the jumps back."""
    state: dict[str, int] = {}
    done: list[str] = []
    back: set[tuple[str, str]] = set()
    for start in flow.starts:
        stack: list[tuple[str, list[str]]] = []
        if start not in state:
            state[start] = 1
            stack.append((start, _targets(steps[start])))
        while stack:
            key, left = stack[-1]
            if not left:
                state[key] = 2
                done.append(key)
                stack.pop()
                continue
            target = left.pop()
            if target not in steps:
                continue
            if state.get(target) == 1:
                back.add((key, target))
            elif target not in state:
                state[target] = 1
                stack.append((target, _targets(steps[target])))
    return done[::-1], back


def _targets(step: SourceStep) -> list[str]:
    return [edge.target for edge in step.edges if edge.target is not None and not edge.failure]


def _worse(one: Outcome, other: Outcome) -> Outcome:
    ranks: tuple[Outcome, ...] = ("mapped", "approximated", "refused")
    return max(one, other, key=ranks.index)


def _suffix(fields: Iterable[str]) -> str:
    return "confirm" if "approval" in fields else "check"


def by_hand(title: str, what: str, note: str) -> Built:
    """Return the approval that stands for a step which only a person can carry out."""
    return Built([approval(title, f"Carry out by hand, then confirm: {what}")], "refused", note)
