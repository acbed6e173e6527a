"""Airflow's own scheduling of a DAG follows the rule of an SOP's graph, rollback included.

`DagRun.update_state` is what the scheduler calls; here the outcomes of steps come from the test.
"""

from __future__ import annotations

import itertools

import pendulum
import pytest
from airflow.dag_processing.dagbag import BundleDagBag, sync_bag_to_db
from airflow.models.dagbundle import DagBundleModel
from airflow.models.serialized_dag import SerializedDagModel
from airflow.utils.session import create_session
from airflow.utils.state import DagRunState
from airflow.utils.types import DagRunTriggeredByType, DagRunType

from airflow_sop_provider.sop import check_text
from airflow_sop_provider.sop.graph import WorkflowGraph

pytestmark = pytest.mark.slow

SOP = """\
sop: scheduled
version: 1.0.0
title: Scheduled
steps:
  - {id: a, compute: {v: "1"}}
  - {id: b, needs: [a], compute: {v: "1"}}
  - {id: c, needs: [a], compute: {v: "1"}}
  - {id: d, needs: [b, c], compute: {v: "1"}}
  - {id: e, needs: [c], compute: {v: "1"}}
  - {id: f, needs: [d, e], compute: {v: "1"}}
rollback:
  - {id: undo_a, after: a, compute: {v: "1"}}
  - {id: undo_e, after: e, compute: {v: "1"}}
"""

STATE_OF = {"success": "succeeded", "failed": "failed", "skipped": "skipped", "upstream_failed": "halted"}
numbers = itertools.count()


@pytest.fixture(scope="module")
def dag(airflow_database, tmp_path_factory):
    folder = tmp_path_factory.mktemp("scheduled")
    (folder / "scheduled.yaml").write_text(SOP)
    (folder / "dags.py").write_text(
        f"from dag_factory import dag_of_file  # airflow dag\ndag = dag_of_file({str(folder / 'scheduled.yaml')!r})\n"
    )
    with create_session() as session:
        session.merge(DagBundleModel(name="scheduled"))
    sync_bag_to_db(BundleDagBag(dag_folder=folder, bundle_path=folder, bundle_name="scheduled"), "scheduled", None)
    return SerializedDagModel.get_dag("scheduled")


@pytest.fixture(scope="module")
def graph() -> WorkflowGraph:
    return check_text(SOP).unwrap().graph


def carry_out(dag, outcomes):
    """Let every task that Airflow starts end as told; return states by task, order of starts, state of the run."""
    order: list[str] = []
    idle = 0
    now = pendulum.now("UTC").add(seconds=next(numbers))
    with create_session() as session:
        run = dag.create_dagrun(
            run_id=f"run-{now.isoformat()}",
            logical_date=now,
            data_interval=(now, now),
            run_after=now,
            run_type=DagRunType.MANUAL,
            triggered_by=DagRunTriggeredByType.TEST,
            state=DagRunState.RUNNING,
            session=session,
        )
        run.dag = dag
        while run.state == DagRunState.RUNNING:
            ready, _ = run.update_state(session=session, execute_callbacks=False)
            if run.state != DagRunState.RUNNING:
                break
            # A pass may do nothing but mark what is skipped or halted; the next one then starts what follows.
            idle = 0 if ready else idle + 1
            assert idle < 10, "the run is stuck"
            for task in ready:
                order.append(task.task_id)
                task.state = outcomes.get(task.task_id, "success")
            session.flush()
        return {task.task_id: str(task.state) for task in run.get_task_instances(session=session)}, order, run.state


CASES = [
    {},
    {"a": "failed"},
    {"b": "failed"},
    {"c": "skipped"},
    {"b": "skipped", "c": "skipped"},
    {"e": "failed", "b": "skipped"},
    {"d": "failed", "e": "skipped"},
    {"f": "failed"},
    {"f": "skipped"},
]


@pytest.mark.parametrize("outcomes", CASES, ids=str)
def test_airflow_starts_what_the_rule_says(dag, graph, outcomes):
    states, _, result = carry_out(dag, outcomes)
    steps = {step: STATE_OF[states[step]] for step in graph.step_ids}
    for step in graph.step_ids:
        expected = {"run": STATE_OF[outcomes.get(step, "success")], "skip": "skipped", "halt": "halted"}
        assert steps[step] == expected[graph.fate(step, steps)]
    failed = {"failed", "halted"} & set(steps.values())
    assert result == (DagRunState.FAILED if failed else DagRunState.SUCCESS)


@pytest.mark.parametrize("outcomes", CASES, ids=str)
def test_rollback_comes_after_everything_later_steps_first(dag, outcomes):
    _, order, _ = carry_out(dag, outcomes)
    assert order[-2:] == ["undo_e", "undo_a"]


@pytest.mark.parametrize("rolled_back", ["success", "failed", "skipped"])
@pytest.mark.parametrize(("outcomes", "result"), [({}, DagRunState.SUCCESS), ({"f": "failed"}, DagRunState.FAILED)])
def test_what_comes_of_a_rollback_does_not_change_the_result(dag, outcomes, result, rolled_back):
    undone = {"undo_a": rolled_back, "undo_e": rolled_back}
    assert carry_out(dag, {**outcomes, **undone})[2] == result
