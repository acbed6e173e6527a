"""Whatever valid SOP comes: its DAG has the SOP's graph and survives serialization."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given

from airflow_sop_provider.contract.payload import StepPayload
from airflow_sop_provider.engine.rollback_order import rollback_needs
from airflow_sop_provider.sop import check_text, load_sop
from dag_factory import build_dag
from tests.dag_factory.documents import payload_of, serialized, step_edges
from tests.strategies import sop_texts

SHIPPED = sorted((Path(__file__).parents[2] / "sops").glob("*.yaml"))


@given(text=sop_texts())
def test_the_dag_has_the_graph_of_the_sop(text):
    loaded = check_text(text).unwrap()
    dag = build_dag(loaded)
    dag.validate()
    seen = serialized(dag)
    kinds = [payload_of(task).kind for task in dag.tasks]
    if loaded.mode.mode == "agent_centric":
        assert kinds == ["agent_centric"]
        return
    assert step_edges(seen) == step_edges(dag) == set(loaded.graph.edges)
    assert {task.task_id for task in dag.tasks if payload_of(task).kind == "step"} == set(loaded.graph.step_ids)
    assert kinds.count("items") == sum(step.for_each is not None for step in loaded.sop.steps)
    assert {task.task_id for task in dag.tasks if task.is_teardown} == {step.id for step in loaded.sop.rollback}


@given(text=sop_texts())
def test_the_payload_is_what_the_step_says(text):
    loaded = check_text(text).unwrap()
    for task in build_dag(loaded).tasks:
        payload = payload_of(task)
        assert payload == StepPayload.model_validate_json(payload.model_dump_json())
        assert payload.digest == loaded.sha256
        assert payload.inputs == loaded.sop.inputs
        if payload.kind == "step":
            step = loaded.sop.step(task.task_id)
            assert type(step).model_validate(payload.step, strict=False) == step
            assert set(payload.reads) <= loaded.graph.ancestors(step.id)
            for name, source in payload.data_sources.items():
                assert set(source["tools"]) <= set(loaded.sop.data_sources[name].tools)


@given(text=sop_texts())
def test_a_rollback_step_waits_until_nothing_can_run_any_more(text):
    loaded = check_text(text).unwrap()
    graph = loaded.graph
    for step in loaded.sop.rollback:
        needs = set(rollback_needs(graph, loaded.sop.rollback)[step.id])
        assert step.after in needs
        for other in graph.step_ids:
            # Over for sure once everything in `needs` is: itself, or one that waits for it alone, and so on.
            implied, frontier = other in needs, [other]
            while frontier and not implied:
                frontier = [d for f in frontier for d in graph.dependents(f) if graph.prerequisites(d) == (f,)]
                implied = any(one in needs for one in frontier)
            assert implied, f"{step.id} does not wait for {other}"


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_every_shipped_sop_becomes_a_dag(path):
    loaded = load_sop(path)
    dag = build_dag(loaded)
    dag.validate()
    assert dag.dag_id == path.stem
    assert serialized(dag).dag_id == path.stem
