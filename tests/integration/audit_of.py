"""What an auditor does with an execution of a running Airflow: exports it, verifies it, and reads its entries."""

from __future__ import annotations

import json
import zipfile
from collections import Counter
from pathlib import Path
from urllib.parse import quote

from airflow_sop_provider.audit.chain_check import read_chain
from airflow_sop_provider.audit.entries import Entry
from airflow_sop_provider.audit.verify import verify_path
from tests.integration.airflow_system import AirflowSystem


def verified_entries(
    airflow: AirflowSystem, sop: str, run: str, folder: Path, *, ends: str = "COMPLETED"
) -> list[Entry]:
    """Verify an execution's export: nothing is missing, every attempt has its begin and its end, each once."""
    path = f"/sops/{sop}/executions/{quote(run, safe='')}"
    airflow.wait_for(
        lambda: json.loads(airflow.api.engine(f"{path}/status"))["status"] == ends, f"the engine to say {ends}"
    )
    export = folder / "export.zip"
    export.write_bytes(airflow.api.engine(f"{path}/export"))
    key = json.loads(airflow.api.engine("/audit/public-key"))["key"]
    report = verify_path(export, key=bytes.fromhex(key))
    assert (report.problems, report.digests) == ([], 1)
    with zipfile.ZipFile(export) as archive:
        entries, problems = read_chain(archive.read("audit.jsonl"))
    assert not problems
    attempts = {kind: Counter(_attempt(one) for one in entries if one.kind == kind) for kind in _PAIR}
    assert attempts["attempt.begin"] == attempts["attempt.end"]
    assert set(attempts["attempt.begin"].values()) <= {1}, attempts
    return entries


_PAIR = ("attempt.begin", "attempt.end")


def _attempt(entry: Entry) -> tuple[str | None, int | None, str]:
    """An attempt, by its task instance: after a task was cleared its number may come again."""
    return entry.step, entry.attempt, str(entry.metadata["task_instance"])
