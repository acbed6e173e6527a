"""Feature: execution-engine, Property 35: Mode change

A control's mode changes only if the new one is compatible, and nothing else changes with it.
"""

from __future__ import annotations

from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_sop_provider.sop import Sop, SopError, check_text, choose_mode, set_mode
from airflow_sop_provider.sop.models import Mode
from tests.strategies import dump, sop_documents


@given(
    sop_documents(),
    st.sampled_from(get_args(Mode)),
    st.sampled_from(["block", "flow", "json", "quoted"]),
    st.booleans(),
)
def test_mode_changes_only_if_compatible(document: dict[str, Any], mode: Mode, style: str, written: bool) -> None:
    if not written and choose_mode(Sop.model_validate({**document, "mode": "auto"})).valid:
        del document["mode"]
    text = "# a comment\n" + dump(document, style)
    compatible = choose_mode(Sop.model_validate({**document, "mode": mode})).valid
    if not compatible:
        with pytest.raises(SopError) as error:
            set_mode(text, mode)
        assert {problem.code for problem in error.value.problems} == {"incompatible-mode"}
        return
    changed = set_mode(text, mode)
    assert changed.startswith("# a comment\n")
    assert check_text(changed).unwrap().sop == check_text(text).unwrap().sop.model_copy(update={"mode": mode})
    rest = [line for line in text.splitlines() if "mode" not in line]
    if style == "block":
        assert [line for line in changed.splitlines() if "mode" not in line] == rest
