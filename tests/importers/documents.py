"""Generated documents of the three formats: any shape of jumps, hostile texts, kinds known and unknown."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

TEXT = st.text(max_size=30) | st.sampled_from(
    [
        "{{ 1 / 0 }}",
        "{% raw %}",
        "a: b # c",
        "- x",
        "no",
        "012",
        "${x}",
        "'",
        '"',
        "\\",
        "{{",
        "}}",
        "# c\nx: y",
        "__v__:value",
    ]
)
NAMES = ["alpha", "Beta", "gamma-1", "delta items", "Ünicode", "a b", "steps", "alpha_items"]


@st.composite
def ssm(draw: st.DrawFn) -> dict[str, Any]:
    names = draw(st.lists(st.sampled_from(NAMES), min_size=1, max_size=8, unique=True))
    target = st.sampled_from([*names, "nowhere"])
    value = TEXT | st.sampled_from(["{{ Who }}", "{{ alpha.Out }} x", "{{ Beta.Out }}", "{{ global:DATE }}"])

    def step(name: str) -> dict[str, Any]:
        action = draw(st.sampled_from([
            "aws:executeAwsApi", "aws:approve", "aws:sleep", "aws:pause", "aws:executeScript", "aws:branch", "aws:loop",
            "aws:runCommand", "aws:assertAwsResourceProperty", "aws:waitForAwsResourceProperty", "aws:unheardOf",
        ]))  # fmt: skip
        inputs: dict[str, Any] = {
            "Service": draw(st.sampled_from(["ec2", "S3", "{{ Who }}"])),
            "Api": "Do",
            "X": draw(value),
        }
        if action == "aws:approve":
            inputs = {"Approvers": draw(st.lists(TEXT, max_size=3)), "Message": draw(TEXT),
                      "MinRequiredApprovals": draw(st.integers(0, 9))}  # fmt: skip
        if action == "aws:sleep":
            inputs = {"Duration": draw(st.sampled_from(["PT10M", "P1D", "PT", "soon"]))}
        if action == "aws:branch":
            operator = st.sampled_from(["StringEquals", "NumericGreater", "Contains", "Odd"])
            choice = st.builds(lambda v, o, w, t: {"Variable": v, o: w, "NextStep": t}, value, operator, value, target)
            inputs = {"Choices": draw(st.lists(choice, max_size=4))} | draw(
                st.just({}) | st.builds(lambda t: {"Default": t}, target)
            )
        if action == "aws:loop":
            inputs = {"Steps": [{"name": "inner", "action": "aws:sleep"}]}
        result: dict[str, Any] = {"name": name, "action": action, "inputs": inputs, "description": draw(TEXT)}
        result["outputs"] = [
            {"Name": "Out", "Selector": draw(st.sampled_from(["$.a.b[0]", "$..x", "$"])), "Type": "String"}
        ]
        if draw(st.booleans()):
            result["nextStep"] = draw(target)
        if draw(st.integers(0, 4)) == 0:
            result["isEnd"] = True
        result["onFailure"] = draw(st.sampled_from(["Abort", "Continue", f"step:{draw(target)}"]))
        result |= draw(st.sampled_from([{}, {"timeoutSeconds": 30, "maxAttempts": 3}, {"maxAttempts": 99}]))
        return result

    who = {
        "type": draw(st.sampled_from(["String", "StringList", "Boolean", "AWS::EC2::Instance::Id"])),
        "default": draw(TEXT),
    }
    parameters = {"Who": who, "priority": {"type": "Integer"}}
    return {"schemaVersion": "0.3", "description": draw(TEXT), "parameters": parameters,
            "mainSteps": [step(name) for name in names]}  # fmt: skip


@st.composite
def xsoar(draw: st.DrawFn) -> dict[str, Any]:
    ids = [str(number) for number in range(draw(st.integers(2, 9)))]
    targets = st.lists(st.sampled_from([*ids, "77"]), max_size=3)
    value = TEXT | st.sampled_from(["${inputs.Who}", "a ${inputs.Who} b", "${Context.Key}", "inputs.Who"])

    def task(key: str) -> dict[str, Any]:
        kind = (
            "start"
            if key == "0"
            else draw(st.sampled_from(["regular", "condition", "title", "playbook", "collection", "odd"]))
        )
        about: dict[str, Any] = {"name": draw(TEXT), "description": draw(TEXT), "iscommand": draw(st.booleans())}
        if draw(st.booleans()):
            about["script"] = draw(st.sampled_from(["Brand|||do-it", "|||send", "Print"]))
        labels = (
            st.sampled_from(["yes", "no", "#default#", "#error#", "Ünclear"])
            if kind == "condition"
            else st.sampled_from(["#none#", "#error#"])
        )
        result: dict[str, Any] = {
            "id": key,
            "type": kind,
            "task": about,
            "nexttasks": draw(st.dictionaries(labels, targets, max_size=3)),
        }
        result["scriptarguments"] = draw(
            st.dictionaries(st.sampled_from(["a", "b"]), st.builds(lambda v: {"simple": v}, value), max_size=2)
        )
        if kind == "condition" and draw(st.booleans()):
            side = st.builds(lambda v, c: {"value": {"simple": v}, "iscontext": c}, value, st.booleans())
            test = st.builds(lambda o, a, b: {"operator": o, "left": a, "right": b},
                             st.sampled_from(["isEqualString", "greaterThan", "isExists"]), side, side)  # fmt: skip
            result["conditions"] = [
                {"label": "yes", "condition": draw(st.lists(st.lists(test, max_size=2), max_size=2))}
            ]
        if draw(st.integers(0, 9)) == 0:
            result["loop"] = {"max": 3}
        return result

    who = {
        "key": "Who",
        "value": draw(st.sampled_from([{}, {"simple": "x"}, {"complex": {}}])),
        "required": draw(st.booleans()),
    }
    return {"name": draw(TEXT), "starttaskid": "0", "inputs": [who], "tasks": {key: task(key) for key in ids}}


@st.composite
def cacao(draw: st.DrawFn) -> dict[str, Any]:
    kinds = [
        "action",
        "if-condition",
        "switch-condition",
        "parallel",
        "while-condition",
        "playbook-action",
        "end",
        "odd",
    ]
    ids = [f"{draw(st.sampled_from(kinds))}--{number}" for number in range(draw(st.integers(1, 9)))]
    target = st.sampled_from([*ids, "nowhere--1"])

    def step(key: str) -> dict[str, Any]:
        kind = key.partition("--")[0]
        result: dict[str, Any] = {"type": kind, "name": draw(TEXT)}
        for name in ("on_completion", "on_success", "on_failure"):
            if kind != "end" and draw(st.booleans()):
                result[name] = draw(target)
        if kind == "action":
            command = st.builds(
                lambda t, c: {"type": t, "command": c}, st.sampled_from(["manual", "http-api", "bash", "ssh"]), TEXT
            )
            result["commands"] = draw(st.lists(command, max_size=3))
        if kind in ("if-condition", "while-condition"):
            result["condition"] = draw(
                TEXT | st.sampled_from(["__v__:value == 'x'", "__n__:value > 3", "__v__:value = true"])
            )
            result["on_true"] = draw(target)
            if draw(st.booleans()):
                result["on_false"] = draw(target)
        if kind == "switch-condition":
            result["switch"] = draw(st.sampled_from(["__v__", "__v__:value", "odd"]))
            result["cases"] = draw(st.dictionaries(st.sampled_from(["a", "B c", "default", "Ü"]), target, max_size=3))
        if kind == "parallel":
            result["next_steps"] = draw(st.lists(target, max_size=3))
        return result

    workflow = {"start--0": {"type": "start", "on_completion": draw(target)}} | {key: step(key) for key in ids}
    variables = {
        "__v__": {"type": "string", "value": draw(TEXT)},
        "__n__": {"type": "integer", "value": draw(st.sampled_from(["3", "x"]))},
    }
    return {"type": "playbook", "spec_version": "cacao-2.0", "name": draw(TEXT), "playbook_variables": variables,
            "workflow_start": "start--0", "workflow": workflow}  # fmt: skip
