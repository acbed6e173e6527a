"""Every mistake is found where it is, with a code and a remedy.

Each case replaces some text of a valid SOP; `^` in the new text marks the place the problem must
point to.
"""

from __future__ import annotations

import pytest

from airflow_sop_provider.sop import check_text
from tests.sop.helpers import BASE, broken

CASES = {
    "unknown key of the root": ("title: Base", "^titel: Base", "unknown-key", "did you mean `title`?"),
    "unknown key without a like": ("title: Base", "title: Base\n^zzzzz: 1", "unknown-key", "known keys are"),
    "unknown key of a step": ("needs: [fetch]", "^need: [fetch]", "unknown-key", "did you mean `needs`?"),
    "unknown key of a kind": ("question:", "^qestion:", "unknown-key", "did you mean `question`?"),
    "duplicate key": ("title: Base", "title: Base\n^title: Other", "duplicate-key", "keep one"),
    "missing key": ("title: Base\n", "", "missing-key", None),
    "key that is not text": ("title: Base", "title: Base\n^1: x", "key-not-text", 'write "1"'),
    "boolean as a key": ("{clear: c,", "{^true: c,", "key-not-text", 'write "true"'),
    "version as a number": ('version: "1.0"', "version: ^2.1", "wrong-type", 'put it into quotes: "2.1"'),
    "text instead of a list": ("needs: [fetch]", "needs: ^fetch", "wrong-type", "write a list: [fetch]"),
    "null instead of a list": ("needs: [fetch]", "needs: ^~", "wrong-type", "leave the key out"),
    "list instead of text": ("title: Base", "title: ^[Base]", "wrong-type", None),
    "quoted number": ("quorum: 1", 'quorum: ^"1"', "wrong-type", "leave the quotes out"),
    "steps as a mapping": ("schedule:", "rollback: ^{a: 1}\nschedule:", "wrong-type", None),
    "bad mode": ("title: Base", "title: Base\nmode: ^agentcentric", "bad-value", "did you mean `agent_centric`?"),
    "bad priority": ("title: Base", "title: Base\npriority: ^urgent", "bad-value", None),
    "id with capitals": ("sop: base", "sop: ^Base_Sop", "bad-name", "for example `base-sop`"),
    "step id with a dash": ("id: fetch", "id: ^fetch-it", "bad-name", "for example `fetch_it`"),
    "tool without a source": ("tool: crm.get", "tool: ^get", "bad-name", None),
    "unknown source": ("tool: crm.get", "tool: ^cmr.get", "unknown-source", "did you mean `crm.get`?"),
    "unknown tool": ("tool: crm.get", "tool: ^crm.gets", "unknown-tool", "did you mean `crm.get`?"),
    "tool of an agent": ("tools: [crm.get]", "tools: [^crm.drop]", "unknown-tool", "add `drop`"),
    "no kind": ("compute: {n: 1 + 1}", "timeout: 1m", "step-kind", "add one of tool"),
    "two kinds": ("compute: {n: 1 + 1}", "compute: {n: 1 + 1}\n    ^tool: crm.get", "step-kind", "make a step of each"),
    "arguments without a tool": (
        "compute: {n: 1 + 1}",
        "compute: {n: 1 + 1}\n    ^arguments: {a: 1}",
        "misplaced-key",
        "name the `tool`",
    ),
    "duplicate step id": ("id: count", "id: ^fetch", "duplicate-step", "unique"),
    "id of a rollback step": ("id: undo", "id: ^count", "duplicate-step", "unique"),
    "id of a list of items": ("id: count", "id: ^each_items", "duplicate-step", "another id"),
    "unknown prerequisite": ("needs: [fetch]", "needs: [^fecth]", "unknown-step", "did you mean `fetch`?"),
    "prerequisite twice": ("needs: [fetch]", "needs: [fetch, ^fetch]", "duplicate-need", "keep one"),
    "needs itself": ("needs: [fetch]", "needs: ^[count]", "cycle", "remove one"),
    "rollback of no step": ("after: fetch", "after: ^fetsh", "unknown-step", "did you mean `fetch`?"),
    "rollback by an agent": ("tool: crm.undo", "^agent: {instruction: x}", "unknown-key", None),
    "expression with a syntax error": ("n: 1 + 1", "n: ^1 +", "expression", None),
    "expression in braces": ("n: 1 + 1", 'n: ^"{{ 1 + 1 }}"', "expression", "write: 1 + 1"),
    "expression that goes on": ("n: 1 + 1", "n: ^1 1", "expression", None),
    "unknown filter": ("n: 1 + 1", "n: 1 | ^lenght", "expression", "did you mean `length`?"),
    "unknown test": ("n: 1 + 1", "n: 1 is ^definde", "expression", "did you mean `defined`?"),
    "forbidden filter": ("n: 1 + 1", "n: 1 | ^attr('x')", "expression", None),
    "unknown name": ("n: 1 + 1", "n: ^input.who", "unknown-name", "did you mean `inputs`?"),
    "text without quotes": ("n: 1 + 1", "n: ^suspicious", "unknown-name", "'suspicious'"),
    "unknown input": ("{{ inputs.who }}", "{{ inputs.^whom }}", "unknown-input", "did you mean `who`?"),
    "item without for_each": ("n: 1 + 1", "n: ^item", "unknown-name", None),
    "item in for_each": ('for_each: "[1, 2]"', "for_each: ^item", "unknown-name", None),
    "ask outside a rule": ("n: 1 + 1", "n: ^ask", "unknown-name", None),
    "statement in a template": ("{{ inputs.who }}", "{% if 1 %}a{% endif %}", "expression", "`when`"),
    "template with a syntax error": ("{{ inputs.who }}", "{{ inputs.who", "expression", "`}}` is missing"),
    "reads itself": ("n: 1 + 1", "n: steps.^count.n", "not-a-prerequisite", None),
    "reads what is no prerequisite": ("n: 1 + 1", "n: steps.^ask_agent", "not-a-prerequisite", None),
    "reads what runs later": (
        "arguments: {who: ",
        "arguments: {x: '{{ steps.^count.n }}', who: ",
        "not-a-prerequisite",
        "runs after this step",
    ),
    "reads no step": ("n: 1 + 1", "n: steps.^fetsh.x", "unknown-step", "did you mean `fetch`?"),
    "reads no output": ("steps.count.n > 1", "steps.count.^m > 1", "unknown-output", "it has n"),
    "reads an output of a list": ("steps.each | length", "steps.each.^x", "unknown-output", "map(attribute='x')"),
    "steps alone": ("n: 1 + 1", "n: ^steps | length", "expression", "steps.<id>.<output>"),
    "rule without else": (
        "'clear' if steps.count.n > 1 else ask",
        "'clear' ^if steps.count.n > 1",
        "rule-without-else",
        "add `else ask`",
    ),
    "rule that gives no option": ("'clear' if", "'^cleer' if", "unknown-option", "did you mean `clear`?"),
    "compared with no option": ("== 'odd'", "== '^odds'", "unknown-option", "did you mean `odd`?"),
    "one option only": ("{clear: c, odd: o}", "^{clear: c}", "bad-value", None),
    "command without anything to run": ("command: {command: [ls]}", "command: ^{args: [a]}", "missing-one", None),
    "environment name": ("{command: [ls]}", "{command: [ls], env: {^1A: x}}", "bad-name", None),
    "environment value": ("{command: [ls]}", "{command: [ls], env: {A: ^1}}", "wrong-type", 'quotes: "1"'),
    "cron with four fields": ('"0 1 * * *"', '^"0 1 * *"', "bad-cron", "minute hour day"),
    "cron out of range": ('"0 1 * * *"', '^"0 25 * * *"', "bad-cron", None),
    "cron that never comes": ('"0 1 * * *"', '^"0 0 30 2 *"', "bad-cron", None),
    "unknown preset": ('"0 1 * * *"', '^"@nightly"', "bad-cron", None),
    "bad time zone": ("timezone: UTC", "timezone: ^Europe/Berln", "bad-timezone", "did you mean `Europe/Berlin`?"),
    "time zone that is a path": ("timezone: UTC", "timezone: ^../../etc/passwd", "bad-timezone", "IANA"),
    "bad window": ("window: 4h", "window: ^4 hours", "bad-duration", None),
    "window without a unit": ("window: 4h", "window: ^4", "bad-duration", None),
    "duration of zero": ("window: 4h", "window: ^0s", "bad-duration", None),
    "duration of ages": ("window: 4h", "window: ^99999d", "bad-duration", None),
    "bad quantity": ("title: Base", "title: Base\nresources: {cpu: ^250x}", "bad-quantity", None),
    "memory in thousandths": ("title: Base", "title: Base\nresources: {memory: ^256m}", "bad-quantity", None),
    "memory above its cap": (
        "title: Base",
        "title: Base\nresources: ^{memory: 2Gi, max_memory: 1Gi}",
        "bad-quantity",
        None,
    ),
    "too many retries": (
        "compute: {n: 1 + 1}",
        "retry: {max_retries: ^11}\n    compute: {n: 1 + 1}",
        "bad-value",
        None,
    ),
    "bad schema type": ("who: {type: string}", "who: {type: ^strin}", "bad-schema", "did you mean `string`?"),
    "bad schema keyword": ("who: {type: string}", "who: {^tipe: string}", "bad-schema", "did you mean `type`?"),
    "bad schema pattern": ("who: {type: string}", 'who: {pattern: ^"("}', "bad-schema", None),
    "bad schema of outputs": ("arguments: {who", "outputs: {required: ^x}\n    arguments: {who", "bad-schema", None),
    "schema from elsewhere": ("who: {type: string}", "who: {$ref: ^http://x/y}", "bad-schema", None),
    "default of another type": ("who: {type: string}", "who: {type: string, default: ^3}", "bad-default", None),
    "default out of range": (
        "who: {type: string}",
        "who: {type: integer, maximum: 3, default: ^4}",
        "bad-default",
        None,
    ),
    "reserved input": ("who: {type: string}", "who: {type: string}\n  ^batch: {type: string}", "reserved-name", None),
    "input that is no name": ("who: {type: string}", "who: {type: string}\n  ^a-b: {}", "bad-name", "`a_b`"),
    "ambiguous boolean": ("title: Base", "title: ^yes", "ambiguous-value", 'write true, or "yes"'),
    "ambiguous date": ("title: Base", "title: ^2024-01-01", "ambiguous-value", 'write "2024-01-01"'),
    "ambiguous number": ("title: Base", "title: ^012", "ambiguous-value", 'write "012"'),
    "base sixty": ("window: 4h", "window: ^4:00", "ambiguous-value", None),
    "tag": ("title: Base", "title: ^!secret Base", "ambiguous-value", "leave the tag out"),
    "tag of a mapping": ("who: {type", "who: ^!!python/object:os.system {type", "tag", "leave the tag out"),
    "merge key": ("title: Base", "title: Base\n^<<: {a: 1}", "merge-key", None),
    "unknown alias": ("title: Base", "title: ^*nothing", "unknown-alias", None),
    "tab": ("title: Base", "title: Base\n^\tx: 1", "yaml-syntax", "indent with spaces"),
    "colon in text": ("title: Base", "title: Base^: more", "yaml-syntax", None),
    "second document": ("title: Base", "title: Base\n^---\na: 1", "multiple-documents", "one SOP"),
    "notifier that is no path": ("schedule:", "escalation: [{notifier: ^smtp}]\nschedule:", "bad-name", "dotted path"),
    "incompatible mode": ("title: Base", "title: Base\nmode: agent_centric", "incompatible-mode", "system_design"),
}


@pytest.mark.parametrize("case", CASES)
def test_every_problem_comes_with_a_place_and_a_remedy(case: str):
    text, _ = broken(*CASES[case][:2])
    for problem in check_text(text).problems:
        assert problem.suggestion, problem.render()
        assert problem.excerpt or not text.splitlines()[problem.line - 1]


def test_the_base_is_valid():
    assert check_text(BASE).problems == ()


@pytest.mark.parametrize("case", CASES)
def test_mistake_is_found_at_its_place(case: str):
    old, new, code, remedy = CASES[case]
    text, place = broken(old, new)
    problems = check_text(text, "x.yaml").problems
    found = [problem for problem in problems if problem.code == code]
    assert found, [problem.render() for problem in problems]
    if "^" in new:
        assert place in [(problem.line, problem.column) for problem in found], [p.render() for p in found]
    best = next((problem for problem in found if (problem.line, problem.column) == place), found[0])
    assert best.excerpt == text.split("\n")[best.line - 1]
    if remedy:
        assert remedy in f"{best.message} {best.suggestion}"


def test_all_mistakes_are_told_at_once():
    text = BASE
    for old, new, _, _ in (CASES[name] for name in ("bad time zone", "unknown tool", "bad window", "unknown input")):
        text = text.replace(old, new.replace("^", ""))
    text = text.replace("n: 1 + 1", "n: 1 +").replace("needs: [fetch]", "needs: [fecth]")
    codes = [problem.code for problem in check_text(text).problems]
    assert codes == sorted(codes, key=codes.index)
    assert {"bad-timezone", "unknown-tool", "bad-duration", "unknown-input", "expression", "unknown-step"} <= set(codes)
    lines = [problem.line for problem in check_text(text).problems]
    assert lines == sorted(lines)


def test_a_cycle_is_shown_and_what_it_cuts_off():
    text = (
        "sop: a\nversion: v1\ntitle: t\nsteps:\n"
        "- {id: a, needs: [b], compute: {x: '1'}}\n"
        "- {id: b, needs: [a], compute: {x: '1'}}\n"
        "- {id: c, needs: [b], compute: {x: '1'}}\n"
    )
    problems = check_text(text).problems
    assert [problem.code for problem in problems] == ["cycle", "unreachable-step"]
    assert "b -> a -> b" in problems[0].message or "a -> b -> a" in problems[0].message
    assert (problems[1].line, "`c`" in problems[1].message) == (7, True)
