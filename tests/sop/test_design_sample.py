"""The SOP of the design's section 6, unchanged, is valid and means what it says."""

import pickle
from datetime import timedelta
from pathlib import Path

from airflow_sop_provider.sop import Sop, load_sop, step_reads, step_sources

SAMPLE = Path(__file__).with_name("design_sample.yaml")


def test_the_sample_is_valid():
    loaded = load_sop(SAMPLE)
    sop = loaded.sop
    assert (sop.sop, sop.version, sop.owner, sop.priority) == ("vendor-bank-change", "2.1.0", "treasury-qa", "normal")
    assert sop.expected_duration == timedelta(minutes=10)
    assert sop.schedule is not None
    assert sop.schedule.window == timedelta(hours=4)
    assert sop.resources is not None
    assert (sop.resources.cpu_millis, sop.resources.memory_bytes) == (250, 256 * 2**20)
    assert [step.kind for step in sop.steps] == ["tool", "compute", "decision", "approval", "agent"]
    assert loaded.mode.mode == "system_design"
    assert loaded.graph.order == ("history", "score", "judge", "freeze", "report")


def test_the_models_survive_json_and_pickle():
    loaded = load_sop(SAMPLE)
    assert Sop.model_validate(loaded.sop.model_dump(mode="json", exclude_none=True)) == loaded.sop
    assert Sop.model_validate_json(loaded.sop.model_dump_json()) == loaded.sop
    again = pickle.loads(pickle.dumps(loaded))
    assert (again.sop, again.sha256, again.mode, again.graph.order) == (
        loaded.sop,
        loaded.sha256,
        loaded.mode,
        loaded.graph.order,
    )


def test_what_steps_read_and_may_touch():
    sop = load_sop(SAMPLE).sop
    assert [step_reads(step) for step in sop.steps] == [(), ("history",), ("score",), ("judge",), ()]
    assert step_sources(sop, sop.step("history"))["vendors"].tools == ["bank_history"]
    assert step_sources(sop, sop.step("score")) == {}
    assert step_sources(sop, sop.rollback[0])["vendors"].tools == ["unfreeze"]
