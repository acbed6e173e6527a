"""Choosing a runtime."""

from __future__ import annotations

from pathlib import Path

import pytest

from airflow_sop_provider.contract import ErrorType
from airflow_sop_provider.runtimes import LocalRuntime, RuntimeFailedError, RuntimeSettings, open_runtime


async def test_the_local_runtime_is_there_everywhere(tmp_path: Path) -> None:
    runtime = open_runtime("local", RuntimeSettings(work_folder=tmp_path / "attempts"))
    assert isinstance(runtime, LocalRuntime)
    assert runtime.name == "local"
    assert runtime.folder("a").parts[-2:] == ("attempts", "a")


def test_an_unknown_runtime_is_refused_with_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(RuntimeFailedError, match=r"unknown runtime 'kubernets'.*`local`") as caught:
        open_runtime("kubernets", RuntimeSettings(work_folder=tmp_path))
    assert caught.value.error_type is ErrorType.PERMANENT
