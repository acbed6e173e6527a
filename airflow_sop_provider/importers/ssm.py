"""AWS SSM Automation documents, schema version 0.3."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from airflow_sop_provider.importers.assemble import by_hand
from airflow_sop_provider.importers.flow import Built, Edge, Flow, ImportFailedError, Scope, SourceStep
from airflow_sop_provider.importers.ssm_actions import TOOLS, tool_step
from airflow_sop_provider.importers.ssm_rules import branch_rule
from airflow_sop_provider.importers.ssm_values import input_schemas, iso_seconds
from airflow_sop_provider.importers.texts import approval, clean, one_line, slug

__all__ = ["read_ssm"]

Build = Callable[[Flow, dict[str, Any], dict[str, Any], Scope], Built]


def read_ssm(document: dict[str, Any], name: str) -> Flow:
    """Return the flow of a document.

    :param name: of the SOP.
    :raises ImportFailedError: it is no Automation document of version 0.3.
    """
    if str(document.get("schemaVersion")) != "0.3":
        raise ImportFailedError("`schemaVersion` is not 0.3: only Automation documents (runbooks) are imported")
    steps = document.get("mainSteps")
    if (
        not isinstance(steps, list)
        or not all(isinstance(step, dict) and step.get("name") for step in steps)
        or not steps
    ):
        raise ImportFailedError("`mainSteps` is not a list of steps with names")
    names = [str(step["name"]) for step in steps]
    if len(set(names)) != len(names):
        raise ImportFailedError("two steps of `mainSteps` have one name")
    text = clean(document.get("description") or "")
    flow = Flow(slug(name, "sop"), one_line(text or name, name), text, [], [names[0]])
    flow.inputs, flow.notes = input_schemas(document.get("parameters"))
    if document.get("outputs"):
        flow.notes.append(
            "`outputs` of the document are left out: results of an execution are the outputs of its steps"
        )
    by_name = {str(step["name"]): step for step in steps}
    for index, step in enumerate(steps):
        following = names[index + 1] if index + 1 < len(names) else None
        flow.steps.append(_source_step(flow, step, following, by_name))
        flow.steps += _nested(step, str(step["name"]))
    return flow


def _source_step(flow: Flow, step: dict[str, Any], following: str | None, by_name: dict[str, Any]) -> SourceStep:
    action = str(step.get("action", ""))
    source = SourceStep(str(step["name"]), action, str(step["name"]))
    inputs = step.get("inputs") if isinstance(step.get("inputs"), dict) else {}
    assert isinstance(inputs, dict)
    if step.get("isEnd") not in (True, "true"):
        source.edges.append(Edge(str(step.get("nextStep") or following or "") or None))
    if action == "aws:branch":
        edges, options, build = branch_rule(step, inputs, by_name, following)
        source.edges, source.options, source.build = edges, options, build
    else:
        source.build = partial(_build, flow, step, inputs, by_name)
    failure = str(step.get("onFailure", "Abort"))
    if failure.startswith("step:"):
        source.edges.append(Edge(failure.removeprefix("step:"), failure=True))
    elif failure == "Continue" or step.get("isCritical") in (False, "false"):
        source.note = "the source goes on after its failure; here a failure halts what depends on it"
    return source


def _build(flow: Flow, step: dict[str, Any], inputs: dict[str, Any], by_name: dict[str, Any], scope: Scope) -> Built:
    action = str(step.get("action", ""))
    built = (
        tool_step(flow, step, inputs, by_name, scope)
        if action in TOOLS
        else _OTHERS.get(action, _unknown)(flow, step, inputs, scope)
    )
    common: dict[str, Any] = {}
    if isinstance(seconds := step.get("timeoutSeconds"), int) and 0 < seconds <= 604800:
        common["timeout"] = f"{seconds}s"
    attempts = step.get("maxAttempts")
    if isinstance(attempts, int) and 1 <= attempts <= 11 and "approval" not in built.body[0]:
        common["retry"] = {"max_retries": attempts - 1}
    going_on = str(step.get("onFailure")) == "Continue" or step.get("isCritical") in (False, "false")
    outcome = "approximated" if going_on and built.outcome == "mapped" else built.outcome
    return Built([{**built.body[0], **common}, *built.body[1:]], outcome, built.note)


def _approve(_flow: Flow, step: dict[str, Any], inputs: dict[str, Any], _scope: Scope) -> Built:
    approvers = inputs.get("Approvers")
    people = [str(one) for one in approvers] if isinstance(approvers, list) else []
    needed = inputs.get("MinRequiredApprovals", 1)
    quorum = needed if isinstance(needed, int) else 1
    body = [
        approval(
            one_line(step["name"]), str(inputs.get("Message") or step.get("description") or "Approve."), people, quorum
        )
    ]
    if not people or any("{{" in one for one in people):
        return Built(body, "approximated", "approvers are not known by name: say who may approve in `by`")
    return Built(body, "mapped", "approvers are named as the source does: map them to users or roles")


def _pause(_flow: Flow, step: dict[str, Any], _inputs: dict[str, Any], _scope: Scope) -> Built:
    return Built([approval(one_line(step["name"]), str(step.get("description") or "Confirm to go on."))])


def _sleep(_flow: Flow, step: dict[str, Any], inputs: dict[str, Any], _scope: Scope) -> Built:
    seconds = iso_seconds(str(inputs.get("Duration", "")))
    if seconds is None:
        return by_hand(one_line(step["name"]), f"wait until {inputs.get('Timestamp') or inputs.get('Duration')}",
                       "waits for a time that is not a plain duration")  # fmt: skip
    return Built([{"title": one_line(step["name"]), "command": {"command": ["sleep", str(seconds)]}}])


def _script(_flow: Flow, step: dict[str, Any], inputs: dict[str, Any], _scope: Scope) -> Built:
    runtime, handler = inputs.get("Runtime", "unknown runtime"), inputs.get("Handler", "-")
    what = f"the script of step {step['name']} ({runtime}, handler {handler})"
    return by_hand(
        one_line(step["name"]), what, "a script for AWS's own runtime; make a tool of the fleet of it, or a `command`"
    )


def _unknown(_flow: Flow, step: dict[str, Any], _inputs: dict[str, Any], _scope: Scope) -> Built:
    action = str(step.get("action", ""))
    reasons = {
        "aws:loop": "an SOP has no loops",
        "aws:updateVariable": "an SOP has no variables that change",
        "aws:waitForAwsResourceProperty": "an SOP does not poll: a person waits for it",
        "aws:invokeWebhook": "an SOP reaches the world through the fleet only",
    }
    reason = reasons.get(action, f"`{action[:80]}` is no action that the importer knows")
    return by_hand(one_line(step["name"]), f"step {step['name']} ({action}): {step.get('description') or ''}", reason)


_OTHERS: dict[str, Build] = {
    "aws:approve": _approve, "aws:pause": _pause, "aws:sleep": _sleep, "aws:executeScript": _script,
}  # fmt: skip


def _nested(step: dict[str, Any], outer: str) -> Iterator[SourceStep]:
    """Yield the steps within a loop."""
    inputs = step.get("inputs")
    steps = inputs.get("Steps") if isinstance(inputs, dict) else None
    for index, inner in enumerate(steps if isinstance(steps, list) else []):
        if isinstance(inner, dict):
            key = f"{outer}/{inner.get('name', index)}"
            yield SourceStep(key, str(inner.get("action", "")), key, inside=outer.split("/")[0])
            yield from _nested(inner, key)
