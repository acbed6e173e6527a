from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from airflow_sop_provider.runtimes import LocalRuntime


@pytest.fixture
async def runtime(tmp_path: Path) -> AsyncIterator[LocalRuntime]:
    runtime = LocalRuntime(tmp_path / "attempts", interval=0.05, kill_grace=0.3)
    yield runtime
    for handle in await runtime.find():
        await runtime.stop(handle, grace=0)
    await runtime.close()
