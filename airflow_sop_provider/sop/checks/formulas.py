"""Expressions and templates: they compile, and read only what will be there."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from airflow_sop_provider.sop.checks.document import Document, StepView
from airflow_sop_provider.sop.expression_syntax import Parsed, Reference, rule_results
from airflow_sop_provider.sop.filters import METHODS
from airflow_sop_provider.sop.formulas import Formula, formulas
from airflow_sop_provider.sop.models import RollbackStep, Step
from airflow_sop_provider.sop.problems import nearest
from airflow_sop_provider.sop.yaml_nodes import Path

__all__ = ["check_formulas"]


def check_formulas(document: Document) -> None:
    """Report expressions that do not compile, unknown names, and reads of what is not there."""
    for step in [*document.steps, *document.rollback]:
        readable = _readable(document, step)
        for formula in formulas(step.data):
            _Check(document, step, formula).run(readable)


def _readable(document: Document, step: StepView) -> set[str] | None:
    """Return the steps whose outputs a step may read; None if that is unknown, as `needs` may be misspelt."""
    if not set(step.data) <= set((RollbackStep if step.is_rollback else Step).model_fields):
        return None
    starts: Any = [step.data.get("after")] if step.is_rollback else step.data.get("needs", [])
    if not isinstance(starts, list):
        return None
    seen: set[str] = set()
    stack = [start for start in starts if isinstance(start, str)]
    while stack:
        need = stack.pop()
        if need not in seen:
            seen.add(need)
            stack.extend(document.needs.get(need, []))
    return seen


class _Check:
    """The checks of one formula."""

    def __init__(self, document: Document, step: StepView, formula: Formula) -> None:
        self.document = document
        self.step = step
        self.formula = formula
        self.path: Path = (*step.path, *formula.path)
        self.parsed: Parsed = formula.parse()

    def report(self, code: str, message: str, word: str | None = None, suggestion: str | None = None) -> None:
        self.document.report(code, f"{self.step.name}: {message}", self.path, suggestion, word=word)

    def run(self, readable: set[str] | None) -> None:
        for finding in self.parsed.findings:
            self.report(finding.code, finding.message, finding.word, finding.suggestion)
        self.names()
        for name in sorted(self.parsed.inputs):
            self.input(name)
        for reference in sorted(self.parsed.steps, key=lambda found: (found.step, found.output or "")):
            self.reference(reference, readable)
        for step, output, text in sorted(self.parsed.compared):
            self.comparison(step, output, text)
        if self.formula.path == ("decision", "rule") and not self.parsed.findings:
            self.rule()

    def names(self) -> None:
        is_rule = self.formula.path == ("decision", "rule")
        if "ask" in self.parsed.names and not is_rule:
            self.report("unknown-name", "`ask` means something in the `rule` of a decision only", "ask",
                        "a step that asks an agent is one of kind `decision` or `agent`")  # fmt: skip
        if "item" in self.parsed.names:
            if self.step.data.get("for_each") is None:
                self.report("unknown-name", "`item` is known only in a step with `for_each`", "item",
                            "give this step a `for_each`, or read `inputs` or `steps`")  # fmt: skip
            elif self.formula.path == ("for_each",):
                self.report("unknown-name", "`item` is not known in `for_each` itself", "item",
                            "name the list, for example inputs.items or steps.fetch.groups")  # fmt: skip

    def input(self, name: str) -> None:
        known = self.document.data.get("inputs", {})
        if isinstance(known, Mapping) and name not in known and name not in METHODS[dict]:
            match = nearest(name, known)
            hint = f"did you mean `{match}`?" if match else "declare it under `inputs`"
            self.report("unknown-input", f"there is no input `{name}`", name, hint)

    def reference(self, reference: Reference, readable: set[str] | None) -> None:
        name, known = reference.step, self.document.needs
        if name not in known:
            match = nearest(name, known)
            self.report("unknown-step", f"`steps.{name}` is no step", name,
                        f"did you mean `{match}`?" if match else None)  # fmt: skip
        elif name == self.step.id:
            self.report("not-a-prerequisite", "it reads its own outputs, which are not there yet", name)
        elif readable is not None and name not in readable:
            self.report("not-a-prerequisite", f"it reads `steps.{name}`, but `{name}` is not a prerequisite", name,
                        self.remedy(name))  # fmt: skip
        elif reference.output is not None:
            self.output(name, reference.output)

    def remedy(self, name: str) -> str:
        if self.step.is_rollback:
            return f"a rollback step reads the step it comes after and that one's prerequisites; `{name}` is neither"
        after = {step for step, needs in self.document.needs.items() if self.step.id in needs}
        if name in after:
            return f"`{name}` runs after this step"
        return f"add `{name}` to `needs`"

    def output(self, name: str, output: str) -> None:
        target = next(step for step in self.document.steps if step.id == name)
        if target.data.get("for_each") is not None:
            if output not in METHODS[list]:
                self.report("unknown-output", f"step `{name}` runs for each item, so `steps.{name}` is a list",
                            output, f"for example `steps.{name} | map(attribute='{output}') | list`")  # fmt: skip
            return
        computed = target.data.get("compute")
        if isinstance(computed, Mapping) and output not in computed and output not in METHODS[dict]:
            match = nearest(output, computed)
            self.report("unknown-output", f"step `{name}` has no output `{output}`", output,
                        f"did you mean `{match}`?" if match else f"it has {', '.join(computed)}")  # fmt: skip

    def comparison(self, name: str, output: str, text: str) -> None:
        target = next((step.data for step in self.document.steps if step.id == name), {})
        options = _options(target)
        if output == "choice" and options and text not in options and target.get("for_each") is None:
            match = nearest(text, options)
            self.report("unknown-option", f"decision `{name}` has no option `{text}`", text,
                        f"did you mean `{match}`?" if match else f"it has {', '.join(options)}")  # fmt: skip

    def rule(self) -> None:
        options = _options(self.step.data)
        results, open_end = rule_results(self.parsed.nodes[0])
        for result in results:
            if options and result not in options:
                match = nearest(str(result), options)
                self.report("unknown-option", f"the rule may give {result!r}, which is not an option",
                            str(result), f"did you mean `{match}`?" if match else
                            f"options are {', '.join(options)}")  # fmt: skip
        if open_end:
            self.report("rule-without-else", "the rule gives nothing when its condition is false", "if",
                        "add `else ask`, or `else` and an option")  # fmt: skip


def _options(step: Mapping[str, Any]) -> list[str]:
    decision = step.get("decision")
    options = decision.get("options") if isinstance(decision, Mapping) else None
    return [name for name in options if isinstance(name, str)] if isinstance(options, Mapping) else []
