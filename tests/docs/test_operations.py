"""docs/operations.md is true where it says what is shown by which test."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.docs.test_sop_language import ROOT

PAGE = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
NAMED = sorted(set(re.findall(r"`((?:tests/\w+/)?test_\w+\.py)(?:::(\w+))?`", PAGE)))


def test_the_problems_of_pods_are_shown_by_tests() -> None:
    assert len(NAMED) >= 20


@pytest.mark.parametrize(("file", "test"), NAMED)
def test_what_the_page_names_as_a_test_is_one(file: str, test: str) -> None:
    path = Path(file) if file.startswith("tests/") else Path("tests/kubernetes") / file
    assert re.search(rf"^(?:async )?def {test or 'test_'}", (ROOT / path).read_text(), re.MULTILINE), f"{path}::{test}"
