"""What an SOP's DAG looks like: tasks, rules, limits, payloads, schedule, documentation."""

from __future__ import annotations

from datetime import timedelta

import pytest
from airflow.sdk import TriggerRule

from tests.dag_factory.documents import HEAD, VENDOR, dag_of, payload_of, serialized, step_edges


@pytest.fixture(scope="module")
def dag():
    return dag_of(VENDOR)


def test_there_is_a_task_for_each_step_and_one_that_lists_items(dag):
    assert set(dag.task_dict) == {"history", "score", "each_items", "each", "judge", "freeze", "unfreeze", "unscore"}
    assert step_edges(dag) == {
        ("history", "score"),
        ("history", "each"),
        ("score", "judge"),
        ("each", "judge"),
        ("judge", "freeze"),
    }


def test_a_step_runs_when_none_failed_and_one_ran(dag):
    rules = {task.task_id: task.trigger_rule for task in dag.tasks if not task.is_teardown}
    assert rules.pop("history") == TriggerRule.ALL_SUCCESS  # nothing before it
    assert set(rules.values()) == {TriggerRule.NONE_FAILED_MIN_ONE_SUCCESS}


def test_the_dag_tells_what_it_is(dag):
    assert dag.dag_id == "vendor-bank-change"
    assert dag.dag_display_name == "Vendor bank-account change review"
    assert dag.tags == {"AP-017", "payment-review", "system_design"}
    assert dag.owner == "treasury-qa"
    for told in ("AP-017", "2.1.0", "Be careful.", "vendors (get_vendor, bank_history, unfreeze)"):
        assert told in dag.doc_md
    assert dag.get_task("history").task_display_name == "Read the history"
    assert "Runs once for each item of `steps.history.changes`" in dag.get_task("each").doc_md


def test_limits_retries_and_priority(dag):
    score, history = dag.get_task("score"), dag.get_task("history")
    assert (score.retries, history.retries) == (1, 3)
    assert history.execution_timeout > timedelta(minutes=10)
    assert score.execution_timeout is None
    assert {task.priority_weight for task in dag.tasks} == {100}
    assert {task.weight_rule for task in dag.tasks} == {"absolute"}
    assert {task.pool for task in dag.tasks} == {"sop_realtime"}
    payload = payload_of(score)
    assert (payload.memory_bytes, payload.cpu_millis) == (64 * 2**20, 250)
    assert payload.max_memory_bytes == 2**30
    assert payload_of(history).timeout_seconds == 600


@pytest.mark.parametrize(("cpu", "slots"), [("250m", 1), ("600m", 3), ("4", 16)])
def test_a_task_takes_as_many_slots_of_its_pool_as_its_step_has_quarters_of_a_core(cpu, slots):
    dag = dag_of(VENDOR.replace("cpu: 250m", f"cpu: {cpu}"))
    taken = {task.task_id: task.pool_slots for task in dag.tasks}
    assert taken.pop("each_items") == 1, "evaluating a list is nobody's requirement"
    assert set(taken.values()) == {slots}


def test_a_task_gets_what_its_step_names_and_no_more(dag):
    history, score, judge = (payload_of(dag.get_task(name)) for name in ("history", "score", "judge"))
    assert history.data_sources == {"vendors": {"server": "vendor-master", "tools": ["bank_history"]}}
    assert score.data_sources == {}
    assert history.agent is None
    assert judge.agent is not None
    assert judge.agent["model"] == "some-model"
    assert judge.guidance == "Be careful."
    assert score.reads == ("history",)
    assert judge.reads == ("each", "history", "score")  # an agent may be asked: it sees what all prerequisites gave


def test_a_for_each_is_mapped_over_the_task_that_lists_its_items(dag):
    each, items = dag.get_task("each"), dag.get_task("each_items")
    assert each.is_mapped
    assert payload_of(each).items_task == "each_items"
    assert payload_of(items).kind == "items"
    assert payload_of(items).step == {"id": "each", "for_each": "steps.history.changes"}
    assert items.task_display_name == f"{each.task_display_name}: items"
    assert items.upstream_task_ids == {"history"}
    assert each.upstream_task_ids == {"each_items"}
    assert [task.task_id for task in each.iter_mapped_dependencies()] == ["each_items"]


def test_rollback_steps_are_teardowns_in_a_group_of_their_own(dag):
    for name in ("unfreeze", "unscore"):
        task = dag.get_task(name)
        assert task.is_teardown
        assert task.trigger_rule == TriggerRule.ALL_DONE_SETUP_SUCCESS
        assert not task.on_failure_fail_dagrun
        assert task.task_group.group_id == "Rollback"
        assert payload_of(task).kind == "rollback"
    assert not any(task.is_setup for task in dag.tasks)
    assert dag.get_task("unfreeze").upstream_task_ids == {"freeze", "score", "each"}
    assert dag.get_task("unscore").upstream_task_ids == {"freeze", "score", "each", "unfreeze"}


def test_an_agent_centric_sop_is_one_task():
    dag = dag_of(
        HEAD
        + """
data_sources: {s: {server: thing, tools: [get, put]}}
agent: {model: m}
steps:
  - {id: a, tool: s.get}
  - {id: b, agent: {instruction: Do it}}
"""
    )
    (task,) = dag.tasks
    payload = payload_of(task)
    assert task.task_id == "agent"
    assert payload.kind == "agent_centric"
    assert [step["id"] for step in payload.step["steps"]] == ["a", "b"]
    assert payload.data_sources == {"s": {"server": "thing", "tools": ["get", "put"]}}
    assert payload.agent["model"] == "m"
    assert "agent_centric" in dag.tags


def test_our_executor_is_named_only_where_it_is_configured(configure):
    ours = "airflow_sop_provider.executors.sop_executor.SopExecutor"
    configure(core__executor="LocalExecutor")
    assert {task.executor for task in dag_of(VENDOR).tasks} == {None}
    configure(core__executor=f"LocalExecutor,sop:{ours}")
    assert {task.executor for task in dag_of(VENDOR).tasks} == {"sop"}
    configure(core__executor=f"LocalExecutor,steps:{ours}")
    assert {task.executor for task in dag_of(VENDOR).tasks} == {"steps"}
    configure(core__executor=ours)
    assert {task.executor for task in dag_of(VENDOR).tasks} == {ours}


def test_the_site_bounds_active_runs_and_may_pause_new_sops(configure):
    assert dag_of(VENDOR).is_paused_upon_creation is False
    configure(sop__max_active_runs="7", sop__max_active_tasks="8", sop__paused_upon_creation="True")
    dag = dag_of(VENDOR)
    assert (dag.max_active_runs, dag.max_active_tasks, dag.is_paused_upon_creation) == (7, 8, True)


def test_the_scheduler_sees_the_same_dag(dag):
    seen = serialized(dag)
    assert step_edges(seen) == step_edges(dag)
    for task in dag.tasks:
        other = seen.get_task(task.task_id)
        assert payload_of(other) == payload_of(task)
        assert other.upstream_task_ids == task.upstream_task_ids
        assert other.is_teardown == task.is_teardown
        assert other.trigger_rule == task.trigger_rule
        assert other.retries == task.retries
        assert other.has_retry_policy is (not task.is_mapped)


def test_expressions_of_an_sop_are_no_airflow_templates(dag):
    assert all(tuple(task.template_fields) == () for task in dag.tasks)
