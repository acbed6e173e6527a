"""Suites in a folder of the test's own, small enough to read."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

SOP = """\
sop: review
version: 1.0.0
title: Review
inputs:
  limit: {type: integer, default: 10}
  name: {type: string, default: x}
data_sources:
  shop: {server: shop-server, tools: [orders, refund]}
steps:
  - {id: orders, tool: shop.orders, arguments: {name: "{{ inputs.name }}"}}
  - id: judge
    needs: [orders]
    decision:
      question: Too many?
      options: {many: stop, few: go on}
      rule: "'many' if steps.orders.count > inputs.limit else 'few'"
  - id: refunds
    needs: [judge]
    when: "steps.judge.choice == 'many'"
    for_each: "steps.orders.ids"
    tool: shop.refund
    arguments: {id: "{{ item }}"}
  - id: report
    needs: [judge, refunds]
    compute:
      verdict: "steps.judge.choice"
      share: "steps.orders.count / 3"
      refunded: "steps.refunds | length if steps.refunds is defined else 0"
"""


@pytest.fixture
def suite_file(tmp_path: Path) -> Callable[..., Path]:
    """Write an SOP and a suite of it; return the suite's path."""

    def write(sop: str = SOP, **keys: Any) -> Path:
        (tmp_path / "review.yaml").write_text(sop)
        path = tmp_path / "suite.yaml"
        path.write_text(json.dumps({"suite": "some-cases", "sop": "review.yaml", **keys}, indent=1))
        return path

    return write
