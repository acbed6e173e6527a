"""OASIS CACAO v2 playbooks.

A branch of a condition or of a parallel step is a workflow of its own there: where it ends, what follows the step
that began it goes on. So the walk carries along where each end leads.
"""

from __future__ import annotations

import json
import re
from functools import partial
from typing import Any

from airflow_sop_provider.contract.assignment import RESERVED_CONF_KEYS
from airflow_sop_provider.importers.assemble import by_hand
from airflow_sop_provider.importers.flow import Built, Edge, Flow, ImportFailedError, Scope, SourceStep
from airflow_sop_provider.importers.ssm_rules import asked
from airflow_sop_provider.importers.ssm_values import clean_keep
from airflow_sop_provider.importers.texts import approval, clean, identifier, literal, one_line, slug
from airflow_sop_provider.importers.workflow import workflow_of

__all__ = ["read_cacao"]

_VARIABLE = re.compile(r"__([A-Za-z0-9_-]+?)__:value")
_COMPARISON = re.compile(
    r"__([A-Za-z0-9_-]+?)__:value\s*(==|=|!=|<=|>=|<|>)\s*('[^'\\{}]*'|-?\d+(?:\.\d+)?|true|false)"
)
_TYPES = {"integer": "integer", "long": "integer", "bool": "boolean", "boolean": "boolean", "list": "array",
          "dictionary": "object"}  # fmt: skip
_CALLS = {"http-api": "request", "openc2-http": "send"}


def read_cacao(document: dict[str, Any], name: str) -> Flow:
    """Return the flow of a playbook.

    :param name: of the SOP.
    :raises ImportFailedError: it is no CACAO v2 playbook.
    """
    if document.get("type") != "playbook" or not str(document.get("spec_version", "")).startswith("cacao-2"):
        raise ImportFailedError("`type` is not playbook or `spec_version` is not cacao-2.0")
    flow, workflow, start = workflow_of(document, name, steps="workflow", first="workflow_start", called="step")
    _inputs(flow, document.get("playbook_variables"))
    if document.get("workflow_exception"):
        flow.notes.append(
            "`workflow_exception` is left out: an SOP escalates failures and undoes steps with `rollback`"
        )
    _Walk(flow, workflow, document).steps(start)
    return flow


def _inputs(flow: Flow, declared: Any) -> None:
    taken: set[str] = set()
    for name, said in declared.items() if isinstance(declared, dict) else ():
        one = said if isinstance(said, dict) else {}
        kind = _TYPES.get(str(one.get("type")), "string")
        schema: dict[str, Any] = {"type": kind}
        if text := clean(one.get("description") or "", 500):
            schema["description"] = text
        if kind == "string" and isinstance(one.get("value"), str):
            schema["default"] = clean_keep(one["value"])
        elif kind == "integer" and re.fullmatch(r"-?\d{1,15}", str(one.get("value"))):
            schema["default"] = int(str(one["value"]))
        elif kind == "boolean" and str(one.get("value")).lower() in ("true", "false"):
            schema["default"] = str(one["value"]).lower() == "true"
        bare = re.fullmatch(r"__(.+)__", str(name), re.DOTALL)
        key = bare[1] if bare else str(name)
        flow.inputs[key] = (identifier(key, taken, RESERVED_CONF_KEYS), schema)


class _Walk:
    def __init__(self, flow: Flow, workflow: dict[str, Any], document: dict[str, Any]) -> None:
        self.flow = flow
        self.workflow = workflow
        self.agents = document.get("agent_definitions") if isinstance(document.get("agent_definitions"), dict) else {}
        self.found: dict[str, SourceStep] = {}
        self.ends: dict[str, str | None] = {}

    def steps(self, start: str) -> None:
        """Describe every step of the workflow, in the source's order."""
        loops: list[tuple[str, dict[str, Any]]] = []
        pending: list[tuple[str, str | None]] = [(start, None)]
        while pending:
            key, after = pending.pop()
            if key in self.found:
                if self.ends[key] != after:
                    self.found[
                        key
                    ].note = "it stands in two branches of the source that go on differently; here as in the first"
                continue
            data = self.workflow.get(key)
            if data is None:
                continue
            self.ends[key] = after
            self.found[key] = self._step(key, data, after, pending)
            if data.get("type") == "while-condition":
                loops.append((key, data))
        for key, data in loops:
            self._inside(key, data)
        for key, data in self.workflow.items():
            if key not in self.found:
                kind = str(data.get("type", ""))
                self.found[key] = step = SourceStep(key, kind, one_line(data.get("name") or key))
                if kind not in ("start", "end", "parallel"):
                    step.build = partial(_work, self.flow, data, kind, self.agents)
        self.flow.steps = [self.found[key] for key in self.workflow]

    def _step(
        self, key: str, data: dict[str, Any], after: str | None, pending: list[tuple[str, str | None]]
    ) -> SourceStep:
        kind = str(data.get("type", ""))
        step = SourceStep(key, kind, one_line(data.get("name") or kind or key))
        following = self._known(data.get("on_completion")) or self._known(data.get("on_success")) or after
        if kind == "end":
            following = after
        if (failure := self._known(data.get("on_failure"))) is not None:
            step.edges.append(Edge(failure, failure=True))
        branches: list[tuple[str | None, str | None]] = [(following, None)]
        if kind == "parallel":
            listed = data.get("next_steps")
            branches = [(self._known(one), None) for one in listed] if isinstance(listed, list) and listed else branches
        elif kind == "if-condition":
            step.options = ("yes", "no")
            branches = [
                (self._known(data.get("on_true")) or following, "yes"),
                (self._known(data.get("on_false")) or following, "no"),
            ]
            step.build = partial(_if, data)
        elif kind == "switch-condition":
            branches, step.options = self._cases(data, following)
            step.build = partial(_switch, data, step.options)
        elif kind not in ("start", "end"):
            step.build = partial(_work, self.flow, data, kind, self.agents)
        for target, option in branches:
            step.edges.append(Edge(target, option))
            if target is not None:
                pending.append((target, after if target == following and option is None else following))
        if following is not None and all(target != following for target, _ in branches):
            pending.insert(0, (following, after))
        return step

    def _cases(
        self, data: dict[str, Any], following: str | None
    ) -> tuple[list[tuple[str | None, str | None]], tuple[str, ...]]:
        cases = data.get("cases")
        found: dict[str, str | None] = {}
        for label, target in cases.items() if isinstance(cases, dict) else ():
            found.setdefault(slug(label, "case"), self._known(target) or following)
        found.setdefault("default", following)
        while len(found) < 2:
            found[f"other-{len(found)}"] = following
        return [(target, option) for option, target in found.items()], tuple(found)

    def _known(self, key: Any) -> str | None:
        return key if isinstance(key, str) and key in self.workflow else None

    def _inside(self, loop: str, data: dict[str, Any]) -> None:
        pending = [data.get("on_true")]
        while pending:
            key = pending.pop()
            if not isinstance(key, str) or key not in self.workflow or key in self.found:
                continue
            inner = self.workflow[key]
            self.found[key] = SourceStep(
                key, str(inner.get("type", "")), one_line(inner.get("name") or key), inside=loop
            )
            pending += [
                inner.get(name) for name in ("on_completion", "on_success", "on_failure", "on_true", "on_false")
            ]
            pending += inner["next_steps"] if isinstance(inner.get("next_steps"), list) else []
            pending += inner["cases"].values() if isinstance(inner.get("cases"), dict) else []


def _work(flow: Flow, data: dict[str, Any], kind: str, agents: Any, scope: Scope) -> Built:
    title = one_line(data.get("name") or kind or "step")
    text = str(data.get("description") or "")
    if kind == "while-condition":
        return by_hand(title, f"as long as {data.get('condition')}: {text} {_body(data)}", "an SOP has no loops")
    if kind == "playbook-action":
        return by_hand(
            title, f"the playbook {data.get('playbook_id')}. {text}", "a playbook of its own; import it as an SOP"
        )
    commands = data.get("commands")
    if (
        kind != "action"
        or not isinstance(commands, list)
        or not commands
        or not all(isinstance(c, dict) for c in commands)
    ):
        return by_hand(title, text or title, f"`{kind[:60]}` without commands that the importer knows")
    if all(command.get("type") == "manual" for command in commands):
        said = "\n".join(str(command.get("command") or command.get("description") or "") for command in commands)
        return Built([approval(title, f"{text}\n{said}")], "mapped", "manual commands")
    types = sorted({str(command.get("type")) for command in commands})
    if not set(types) <= set(_CALLS):
        said = json.dumps(commands, ensure_ascii=False, default=str)
        return by_hand(
            title,
            f"{text}\n{said}",
            f"commands of type {', '.join(types)} run on other machines; make tools of the fleet of them",
        )
    declared = (
        agents.get(data.get("agent")) if isinstance(agents, dict) and isinstance(data.get("agent"), str) else None
    )
    server = slug((declared.get("name") if isinstance(declared, dict) else None) or "cacao-agent", "source")
    body = []
    for command in commands:
        arguments = {key: _value(value, scope) for key, value in command.items() if key not in ("type", "description")}
        tool = flow.tool(server, _CALLS[str(command["type"])])
        body.append({"title": title, "tool": tool, **({"arguments": arguments} if arguments else {})})
    return Built(
        body, "approximated", f"the fleet needs a server `{server}` whose tool makes the call of {', '.join(types)}"
    )


def _body(data: dict[str, Any]) -> str:
    return f"(from {data['on_true']} on)" if data.get("on_true") else ""


def _value(value: Any, scope: Scope) -> Any:
    if isinstance(value, str):
        parts, end = [], 0
        for match in _VARIABLE.finditer(value):
            known = scope.inputs.get(match[1])
            parts += [
                literal(clean_keep(value[end : match.start()])),
                f"{{{{ inputs.{known} }}}}" if known else match[0],
            ]
            end = match.end()
        return "".join([*parts, literal(clean_keep(value[end:]))])
    if isinstance(value, dict):
        return {clean_keep(str(key)): _value(item, scope) for key, item in value.items()}
    return [_value(item, scope) for item in value] if isinstance(value, list) else value


def _if(data: dict[str, Any], scope: Scope) -> Built:
    title, condition = one_line(data.get("name") or "condition"), str(data.get("condition") or "")
    options = {"yes": "the condition holds", "no": "it does not"}
    rule = _comparison(condition, scope)
    if rule is None:
        return asked(title, f"Does this hold: {one_line(condition, 'the condition')}", options, condition or title)
    question = f"Does this hold: {one_line(condition)}"
    return Built([{"title": title, "decision": {"question": literal(question), "options": options,
                                                "rule": f"'yes' if {rule} else 'no'"}}])  # fmt: skip


def _comparison(condition: str, scope: Scope) -> str | None:
    match = _COMPARISON.fullmatch(condition.strip())
    if match is None or match[1] not in scope.inputs or not condition.isprintable() or len(condition) > 300:
        return None
    return f"inputs.{scope.inputs[match[1]]} {'==' if match[2] == '=' else match[2]} {match[3]}"


def _switch(data: dict[str, Any], options: tuple[str, ...], scope: Scope) -> Built:
    title, switch = one_line(data.get("name") or "switch"), str(data.get("switch") or "")
    described = dict.fromkeys(options, "the source's case")
    match = re.fullmatch(r"__([A-Za-z0-9_-]+?)__(?::value)?", switch.strip())
    cases = data.get("cases") if isinstance(data.get("cases"), dict) else {}
    plain = all(isinstance(label, str) and re.fullmatch(r"[A-Za-z0-9 _.-]{1,60}", label) for label in cases or {})
    labels = [label for label in cases or {} if label != "default"]
    if match is None or match[1] not in scope.inputs or not plain or not 0 < len(labels) <= 15:
        return asked(title, f"Which case is it: {one_line(switch, 'the switch')}", described, switch or title)
    rule = "'default'"
    for label in reversed(labels):
        rule = f"'{slug(label, 'case')}' if (inputs.{scope.inputs[match[1]]} | string) == '{label}' else ({rule})"
    question = f"Which case is it: {one_line(switch)}"
    return Built([{"title": title, "decision": {"question": literal(question), "options": described, "rule": rule}}])
