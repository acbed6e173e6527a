"""A valid SOP with a step of every kind, and ways to break it."""

from __future__ import annotations

BASE = """\
sop: base
version: "1.0"
title: Base
inputs:
  who: {type: string}
data_sources:
  crm: {server: crm-server, tools: [get, put]}
schedule: {cron: "0 1 * * *", timezone: UTC, window: 4h}
steps:
  - id: fetch
    tool: crm.get
    arguments: {who: "{{ inputs.who }}"}
  - id: count
    needs: [fetch]
    compute: {n: 1 + 1}
  - id: judge
    needs: [count]
    decision:
      question: Is it?
      options: {clear: c, odd: o}
      rule: "'clear' if steps.count.n > 1 else ask"
  - id: each
    needs: [judge]
    for_each: "[1, 2]"
    tool: crm.put
    arguments: {item: "{{ item }}"}
  - id: sign
    needs: [judge]
    when: "steps.judge.choice == 'odd'"
    approval: {by: [boss], quorum: 1}
  - id: run
    needs: [each]
    when: "steps.each | length > 0"
    command: {command: [ls]}
  - id: ask_agent
    needs: [sign, run]
    agent: {instruction: Look., tools: [crm.get]}
rollback:
  - {id: undo, after: fetch, tool: crm.undo}
"""


def broken(old: str, new: str) -> tuple[str, tuple[int, int]]:
    """Return `BASE` with `old` replaced by `new`, and the place (from 1) of the mark ``^`` in it."""
    assert BASE.count(old) >= 1, old
    marked = BASE.replace(old, new, 1)
    before, _, after = marked.partition("^")
    lines = before.split("\n")
    return before + after, (len(lines), len(lines[-1]) + 1)
