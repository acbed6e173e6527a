"""The policy: a run's own priority reaches Airflow's queue, and nobody else's tasks are touched."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from airflow import settings

from airflow_sop_provider import policies
from airflow_sop_provider.policies import task_instance_mutation_hook


def instance(config=None, **values):
    values = {"priority_weight": 10, "pool": "sop_realtime", **values}
    return SimpleNamespace(executor_config={"sop": {}} if config is None else config, **values)


def run(conf, run_type="manual"):
    return SimpleNamespace(conf=conf, run_type=run_type)


@pytest.mark.parametrize(
    ("conf", "weight"),
    [({"priority": "critical"}, 1000), ({"priority": "low"}, 1), ({"priority": "?"}, 10), (None, 10)],
)
def test_a_step_gets_the_priority_of_its_run(conf, weight):
    step = instance()
    task_instance_mutation_hook(step, run(conf))
    assert step.priority_weight == weight


def test_the_run_may_be_loaded_already():
    step = instance(dag_run=run({"priority": "high"}))
    task_instance_mutation_hook(step, None)
    assert step.priority_weight == 100


def test_without_a_run_nothing_changes():
    step = instance()
    task_instance_mutation_hook(step, None)
    assert step.priority_weight == 10


@pytest.mark.parametrize(
    ("of_run", "chosen", "pool"),
    [
        (run({}), "sop_realtime", "sop_realtime"),
        (run({"batch": "2026-10"}), "sop_realtime", "sop_batch"),
        (run({}, "backfill"), "sop_realtime", "sop_batch"),
        (run({}, "backfill"), "night", "night"),
    ],
)
def test_a_step_waits_in_the_pool_of_its_run(of_run, chosen, pool):
    step = instance(pool=chosen)
    task_instance_mutation_hook(step, of_run)
    assert step.pool == pool


@pytest.mark.parametrize("config", [{}, {"pod_override": 1}])
def test_other_tasks_are_left_alone(config):
    task = instance(config)
    task_instance_mutation_hook(task, run({"priority": "critical"}))
    assert (task.priority_weight, task.pool) == (10, "sop_realtime")


def test_airflow_calls_the_hook():
    assert settings.task_instance_mutation_hook.is_noop is False
    names = {plugin for _, plugin in settings.get_policy_plugin_manager().list_name_plugin()}
    assert policies in names
