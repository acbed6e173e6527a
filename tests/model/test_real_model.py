"""A real model on this machine, through the OpenAI-compatible provider: from SOP to verdict, nothing scripted.

Runs where `make model` has been; what the model says is its own, so only what has to be in it is looked for.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from airflow_sop_provider.contract import Assignment, AttemptKey
from airflow_sop_provider.engine.assignments import build_assignment
from airflow_sop_provider.engine.payloads import sop_payload
from airflow_sop_provider.sop import check_file
from tests.runner.conftest import ROOT, Program, program
from tools.model.__main__ import cache_folder, there
from tools.model.serving import Server, serving
from tools.model.weights import DEFAULT, WEIGHTS

__all__ = ["program"]

pytestmark = [pytest.mark.model, pytest.mark.timeout(900)]
KEY = "SOP_MODEL_KEY"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    found = there(cache_folder(), WEIGHTS[DEFAULT])
    assert found is not None, "run `make model` first"
    with serving(*found, tmp_path_factory.mktemp("model") / "server.log", threads=1) as server:
        yield server


def site(folder: Path, server: Server) -> None:
    entry = {
        "use": "openai:local", "base_url": server.url, "api_key": f"${{{KEY}}}", "structured_turns": True,
        "timeout": 600, "prices": {"input": 1, "output": 1},
    }  # fmt: skip
    (folder / "models.yaml").write_text(json.dumps({"models": {"*": entry}}))


def brief() -> Assignment:
    loaded = check_file(ROOT / "sops" / "package-brief.yaml").loaded
    assert loaded is not None
    key = AttemptKey(sop="package-brief", run_id="r", step="agent", attempt=1, task_instance_id="0-0")
    return build_assignment(key, sop_payload(loaded), {}, {}, execution={"id": "package-brief/r"})


def test_it_carries_out_a_whole_sop_on_real_data(program: Program, model: Server) -> None:
    site(program.folder, model)
    result = program.run(brief(), (ROOT / "fleet.yaml").read_text(), **{KEY: model.key})
    steps = result.outputs["steps"]
    assert list(steps) == ["interpreter", "licences", "files", "brief"]
    assert yaml.__version__ in json.dumps(steps["brief"]), steps["brief"]
    assert result.event("agent.conformance")["conforms"]
    assert [event["tool"] for event in result.events if event["event"] == "data.access"] == [
        "python_info", "licences", "verify_record",
    ]  # fmt: skip
    usage = result.verdict.usage
    assert usage.cost == pytest.approx((usage.input_tokens + usage.output_tokens) / 1e6)
    assert model.key not in json.dumps([result.events, result.log]) + result.verdict.model_dump_json()
