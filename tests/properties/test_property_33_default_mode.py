"""Feature: execution-engine, Property 33: Default mode

No explicit dependencies: agent-centric; else system design. Whether `auto` is written or not.
"""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from airflow_sop_provider.sop import Sop, check_text, choose_mode
from tests.strategies import dump, sop_documents


@given(sop_documents(), st.booleans())
def test_default_mode_follows_from_dependencies(document: dict[str, Any], written: bool) -> None:
    document = {**document, "mode": "auto"}
    if not written:
        del document["mode"]
    expected = "system_design" if any(step.get("needs") for step in document["steps"]) else "agent_centric"
    choice = choose_mode(Sop.model_validate(document))
    assert choice.mode == expected
    assert choice.reason
    result = check_text(dump(document))
    assert result.ok == choice.valid
    if result.loaded is not None:
        assert result.loaded.mode == choice
