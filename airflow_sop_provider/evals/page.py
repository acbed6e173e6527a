"""The report as one HTML page: nothing is loaded from anywhere, and every value is escaped, as none is ours."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.resources import files
from typing import Any

from jinja2 import Environment, StrictUndefined

from airflow_sop_provider.evals.scores import METRICS, CaseResult, Summary
from airflow_sop_provider.evals.suite import LoadedSuite

__all__ = ["html_page"]

_LONGEST = 2000


def html_page(suite: LoadedSuite, results: Sequence[CaseResult], summary: Summary, where: str) -> str:
    """Return the page."""
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters["value"] = _value
    environment.filters["percent"] = percent
    template = files("airflow_sop_provider.evals").joinpath("page.html.jinja").read_text(encoding="utf-8")
    return environment.from_string(template).render(
        suite=suite.suite, sop=suite.loaded.sop, sha256=suite.loaded.sha256, results=results, summary=summary,
        metrics=[(name, name.replace("_", " "), getattr(summary, name), getattr(suite.suite.thresholds, name))
                 for name in METRICS],
        where=where, time=datetime.now(UTC).isoformat(timespec="seconds"),
    )  # fmt: skip


def percent(share: float | None) -> str:
    """`97.5 %`; a share just below 1 is never shown as 100 %."""
    if share is None:
        return "none"
    return f"{math.floor(share * 1000 + 1e-9) / 10:g} %"


def _value(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"
