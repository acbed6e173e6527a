"""Keys of models: an attempt that asks one gets the variables that models.yaml reads, no other attempt does."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from airflow_sop_provider.runtimes.base import MODELS_FILE, AttemptSpec
from airflow_sop_provider.runtimes.local_spawn import PASSED_ON, attempt_environment

MODELS = b'models: {"gemini-*": {api_key: "${THE_KEY}"}, "openai:*": {api_key: "${UNSET_KEY}"}}'


@pytest.mark.parametrize(("files", "given"), [({MODELS_FILE: MODELS}, "sk-1"), ({}, None)])
def test_only_an_attempt_that_asks_a_model_gets_its_key(tmp_path: Path, monkeypatch: Any, files, given) -> None:
    monkeypatch.setenv("THE_KEY", "sk-1")
    monkeypatch.setenv("ANOTHER_KEY", "sk-2")
    spec = AttemptSpec(name="a", argv=("true",), files=files)
    folder: Any = SimpleNamespace(path=tmp_path)
    environment = attempt_environment(spec, folder, PASSED_ON)
    assert environment.get("THE_KEY") == given
    assert {"ANOTHER_KEY", "UNSET_KEY"}.isdisjoint(environment)
