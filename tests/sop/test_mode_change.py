"""Changing the mode changes the mode and not one other character."""

from __future__ import annotations

import pytest
import yaml

from airflow_sop_provider.sop import SopError, check_text, set_mode
from tests.sop.helpers import BASE

PLAIN = """\
# The header stays.
sop: plain   # id
version: "1"
title: 'Plain'  # a title

steps:   # all of them
  - {id: one, compute: {x: "1"}}  # first
  - id: two
    compute: {y: "2"}
"""


def test_a_mode_is_put_after_the_head():
    changed = set_mode(PLAIN, "system_design")
    assert changed == PLAIN.replace("# a title\n", "# a title\nmode: system_design\n")
    assert set_mode(changed, "agent_centric") == changed.replace("mode: system_design", "mode: agent_centric")
    assert check_text(changed).unwrap().mode.mode == "system_design"


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        (PLAIN.replace("title:", "mode:   'auto'   # why\ntitle:"), "mode:   agent_centric   # why\n"),
        (PLAIN.replace("title:", '"mode": !!str auto\ntitle:'), '"mode": agent_centric\n'),
        (PLAIN.replace("title:", "mode: |-\n  auto\ntitle:"), "mode: agent_centric\n"),
        (PLAIN.replace("title:", "mode: >\n  auto\ntitle:"), None),
        (PLAIN.replace("title:", "mode:\ntitle:"), "mode: agent_centric\n"),
        (PLAIN.replace("\n", "\r\n"), "# a title\r\nmode: agent_centric\r\n"),
        (
            '{"sop": "a", "version": "1", "title": "é", "steps": [{"id": "a", "compute": {"x": "1"}}]}',
            '{mode: agent_centric, "sop"',
        ),
        (
            "---\n  sop: a\n  version: v1\n  title: t\n  steps: [{id: a, compute: {x: '1'}}]\n...\n",
            "  mode: agent_centric\n",
        ),
        (
            "title: |\n  t\nversion: |-\n  v1\nsop: >-\n  a\nsteps: [{id: a, compute: {x: '1'}}]\n",
            "mode: agent_centric\ntitle: |",
        ),
    ],
)
def test_every_way_to_write_it(text: str, wanted: str | None):
    changed = set_mode(text, "agent_centric")
    if wanted is not None:
        assert wanted in changed
    assert check_text(changed).unwrap().sop.mode == "agent_centric"
    if "auto" not in text and "mode" not in text:
        assert {**yaml.safe_load(text), "mode": "agent_centric"} == yaml.safe_load(changed)


def test_an_incompatible_mode_is_refused_with_each_reason_in_its_place():
    with pytest.raises(SopError) as error:
        set_mode(BASE, "agent_centric", "x.yaml")
    problems = error.value.problems
    assert {problem.code for problem in problems} == {"incompatible-mode"}
    reasons = " ".join(problem.message for problem in problems)
    for part in (
        "`judge` has 2 dependents",
        "`when`",
        "`for_each`",
        "approval",
        "command",
        "2 prerequisites",
        "`rollback`",
    ):
        assert part in reasons
    lines = BASE.split("\n")
    for problem in problems:
        assert problem.excerpt == lines[problem.line - 1]
        assert lines[problem.line - 1][problem.column - 1 :].startswith(
            ("id:", "when:", "for_each:", "approval:", "command:", "needs:", "rollback:")
        )


def test_an_alias_is_not_torn():
    text = PLAIN.replace("title: 'Plain'", "title: &m auto\nmode: *m")
    with pytest.raises(SopError, match="mode-change"):
        set_mode(text, "agent_centric")


@pytest.mark.parametrize("text", ["", "- a", "sop: [", "sop: a\n", PLAIN.replace("version", "versoin")])
def test_a_broken_sop_stays_as_it_is(text: str):
    with pytest.raises(SopError):
        set_mode(text, "system_design")
