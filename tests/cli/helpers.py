"""Texts and types that the command line's tests share."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).parents[2]

GOOD = """\
sop: {id}
version: 1.0.0
title: A good one
steps:
  - id: first
    compute: {{one: "1"}}
  - id: second
    needs: [first]
    compute: {{two: "steps.first.one + 1"}}
"""

BAD = """\
sop: bad
version: 1.0.0
title: A bad one
steps:
  - id: first
    compute: {one: "1"}
  - id: second
    need: [first]
    compute: {two: "steps.third.one"}
"""

Sop = Callable[..., "subprocess.CompletedProcess[str]"]
