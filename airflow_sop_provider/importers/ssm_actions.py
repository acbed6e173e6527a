"""Actions of SSM Automation that are one call of AWS's API: a tool of a data source named for the service."""

from __future__ import annotations

from typing import Any

from airflow_sop_provider.importers.assemble import by_hand
from airflow_sop_provider.importers.flow import Built, Flow, Outcome, Scope
from airflow_sop_provider.importers.ssm_values import translated
from airflow_sop_provider.importers.texts import one_line

__all__ = ["TOOLS", "tool_step"]

_WAITS = "the source waits until it is done: the tool has to, too"
TOOLS: dict[str, tuple[str, str, str]] = {
    "aws:executeAwsApi": ("", "", ""),
    "aws:assertAwsResourceProperty": ("", "", ""),
    "aws:createTags": ("ec2", "CreateTags", "tags of EC2 resources; others have another tool"),
    "aws:createImage": ("ec2", "CreateImage", _WAITS),
    "aws:copyImage": ("ec2", "CopyImage", _WAITS),
    "aws:deleteImage": ("ec2", "DeregisterImage", "the source deletes the image's snapshots, too"),
    "aws:runInstances": ("ec2", "RunInstances", _WAITS),
    "aws:changeInstanceState": ("ec2", "ChangeInstanceState", _WAITS),
    "aws:createStack": ("cloudformation", "CreateStack", _WAITS),
    "aws:deleteStack": ("cloudformation", "DeleteStack", _WAITS),
    "aws:runCommand": ("ssm", "SendCommand", _WAITS),
    "aws:executeAutomation": ("ssm", "StartAutomationExecution", _WAITS),
    "aws:executeStateMachine": ("states", "StartExecution", _WAITS),
    "aws:invokeLambdaFunction": ("lambda", "Invoke", ""),
}
"""Action -> service, operation, what is not the same; without a service the inputs name it."""

_NOT_ARGUMENTS = ("Service", "Api", "PropertySelector", "DesiredValues")


def tool_step(flow: Flow, step: dict[str, Any], inputs: dict[str, Any], by_name: dict[str, Any], scope: Scope) -> Built:
    """Return the call, and for an assertion the check of what it gave."""
    action = str(step["action"])
    service, operation, note = TOOLS[action]
    service, operation = service or str(inputs.get("Service") or ""), operation or str(inputs.get("Api") or "")
    if not service or not operation or "{{" in service + operation:
        return by_hand(
            one_line(step["name"]), f"step {step['name']} ({action})", "it does not name its service and operation"
        )
    arguments, good = translated({k: v for k, v in inputs.items() if k not in _NOT_ARGUMENTS}, scope, by_name)
    body: dict[str, Any] = {"title": one_line(step["name"]), "tool": flow.tool(f"aws-{service}", operation)}
    if arguments:
        body["arguments"] = arguments
    if not good:
        note = "; ".join(part for part in (note, "some references could not be followed and stand as text") if part)
    needed = f"the fleet needs a server `aws-{service.lower()}` with a tool `{operation}`"
    outcome: Outcome = "approximated" if note else "mapped"
    if action == "aws:assertAwsResourceProperty":
        wanted = f"`{one_line(inputs.get('PropertySelector'))}` is one of {one_line(inputs.get('DesiredValues'))}"
        note = f"{needed}; it asserts that {wanted}: say so in the step's `outputs` schema"
        return Built([body], "approximated", note)
    return Built([body], outcome, "; ".join(part for part in (note, needed) if part))
