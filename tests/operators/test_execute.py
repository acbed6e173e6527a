"""The operator without our executor: the same work, told to Airflow in its own words.

Attempts are real: our runner on the local runtime. Only the worker's context stands in for Airflow's.
"""

from __future__ import annotations

import logging
import threading
import time
from types import SimpleNamespace

import pytest
from airflow.sdk import RetryAction
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException

from airflow_sop_provider.airflow_settings import read_settings
from airflow_sop_provider.operators.retrying import StepFailedError, StepRetryPolicy
from tests.dag_factory.documents import dag_of

SOP = """\
sop: worked
version: 1.0.0
title: Carried out by workers
inputs:
  n: {type: integer, default: 2}
steps:
  - {id: double, compute: {twice: "inputs.n * 2"}}
  - {id: sum, needs: [double], compute: {total: "steps.double.twice + inputs.n", run: "execution.run_id"}}
  - {id: never, needs: [double], when: "inputs.n > 1000", compute: {v: "1"}}
  - {id: each, needs: [double], for_each: "range(inputs.n) | list", compute: {square: "item * item"}}
  - {id: gather, needs: [each], compute: {all: "steps.each | map(attribute='square') | list"}}
  - {id: broken, needs: [double], command: {command: [sh, -c, "echo to the log; exit 65"]}}
  - {id: shaky, needs: [double], command: {command: [sh, -c, "exit 75"]}}
  - {id: dies, needs: [double], command: {command: [sh, -c, "kill -9 $$"]}, retry: {max_retries: 0}}
  - {id: slow, needs: [double], command: {command: [sleep, "300"]}}
  - {id: brief, needs: [double], timeout: 1s, command: {command: [sleep, "300"]}}
rollback:
  - {id: undo, after: double, compute: {undone: "steps.double.twice"}}
"""


class Instance(SimpleNamespace):
    """What the operator uses of Airflow's task instance."""

    def __init__(self, task_id, xcoms, counts, **values):
        usual = {"map_index": -1, "try_number": 1, "max_tries": 3}
        super().__init__(dag_id="worked", run_id="run-1", task_id=task_id, id="ti-1", **{**usual, **values})
        self.xcoms = xcoms
        self.counts = counts

    def xcom_pull(self, task_ids):
        return [value for task in task_ids for value in self.xcoms.get(task, [])]

    def get_ti_count(self, dag_id, run_ids, states, task_ids=None):
        assert (dag_id, run_ids) == ("worked", ["run-1"])
        return sum(self.counts.get((task, state), 0) for task in task_ids or ["*"] for state in states)


@pytest.fixture(scope="module")
def dag():
    return dag_of(SOP)


@pytest.fixture
def work(monkeypatch, tmp_path):
    monkeypatch.setenv("AIRFLOW__SOP__WORK_FOLDER", str(tmp_path / "work"))
    return tmp_path / "work"


@pytest.fixture
def execute(dag, work):
    def run(task_id, *, xcoms=None, conf=None, counts=None, item=None, store=None, **values):
        task = dag.get_task(task_id)
        if task.is_mapped:
            task = task.unmap({"item": item})
        instance = Instance(task_id, xcoms or {}, counts or {}, **values)
        run_of = SimpleNamespace(conf=conf or {}, run_type="manual", logical_date=None, run_after=None)
        context = {"ti": instance, "dag_run": run_of, "dag": dag, "task": task, "task_state_store": store}
        return task.execute(context)

    return run


DOUBLE = {"double": [{"twice": 4}]}


def test_outputs_are_returned_and_pushed(execute, dag):
    assert execute("double") == {"twice": 4}
    assert dag.get_task("double").do_xcom_push
    assert execute("double", conf={"n": 5, "priority": "low"}) == {"twice": 10}


def test_a_step_reads_outputs_inputs_and_its_execution(execute):
    assert execute("sum", xcoms=DOUBLE) == {"total": 6, "run": "run-1"}


def test_a_false_condition_skips(execute):
    with pytest.raises(AirflowSkipException, match=r"inputs\.n > 1000"):
        execute("never", xcoms=DOUBLE)


def test_items_and_their_steps(execute):
    assert execute("each_items", xcoms=DOUBLE) == [0, 1]
    assert execute("each", item=7, map_index=1, xcoms=DOUBLE) == {"square": 49}
    assert execute("gather", xcoms={"each": [{"square": 0}, {"square": 49}]}) == {"all": [0, 49]}
    assert execute("gather", xcoms={"each": [{"square": 3}]}) == {"all": [3]}


def test_a_conf_that_does_not_fit_fails_for_good(execute):
    with pytest.raises(AirflowFailException, match="`n`"):
        execute("double", conf={"n": "two"})


@pytest.fixture
def task_log(caplog):
    """The log of tasks, which Airflow keeps apart from the root logger."""
    logger = logging.getLogger("airflow.task")
    for name, known in logging.root.manager.loggerDict.items():
        if name.startswith("airflow.task") and isinstance(known, logging.Logger):
            known.disabled = False  # a migration in this process disables every logger it finds
    logger.addHandler(caplog.handler)
    with caplog.at_level(logging.INFO, "airflow.task"):
        yield caplog
    logger.removeHandler(caplog.handler)


def test_a_permanent_failure_is_not_retried_and_the_log_tells(execute, task_log, capfd):
    with pytest.raises(AirflowFailException, match="permanent failure"):
        execute("broken", xcoms=DOUBLE)
    # Whoever configured Airflow's logging first in this process decides which of the two it is.
    assert "to the log" in task_log.text + "".join(capfd.readouterr())


@pytest.mark.parametrize(("attempt", "delay"), [(1, 1), (2, 2), (3, 4)])
def test_a_transient_failure_is_retried_after_its_exact_delay(execute, attempt, delay):
    with pytest.raises(StepFailedError, match="transient failure") as caught:
        execute("shaky", xcoms=DOUBLE, try_number=attempt)
    decision = StepRetryPolicy().evaluate(caught.value, attempt, 3)
    assert decision.action is RetryAction.RETRY
    assert decision.retry_delay.total_seconds() == delay
    assert decision.reason


def test_the_last_retry_fails_for_good_and_clearing_gives_new_ones(execute):
    with pytest.raises(AirflowFailException):
        execute("shaky", xcoms=DOUBLE, try_number=4)
    with pytest.raises(StepFailedError) as caught:
        execute("shaky", xcoms=DOUBLE, try_number=5, max_tries=7)
    assert caught.value.decision.delay_seconds == 1


def test_other_exceptions_follow_the_task(dag):
    assert StepRetryPolicy().evaluate(ValueError(), 1, 3).action is RetryAction.DEFAULT
    assert isinstance(dag.get_task("double").retry_policy, StepRetryPolicy)
    assert isinstance(StepRetryPolicy.deserialize(StepRetryPolicy().serialize()), StepRetryPolicy)


def test_a_timeout_is_told_as_such(execute):
    with pytest.raises(StepFailedError, match="timeout"):
        execute("brief", xcoms=DOUBLE)


def test_a_rollback_step_runs_only_if_there_is_something_to_undo(execute):
    failed = {("double", "success"): 1, ("*", "failed"): 1}
    assert execute("undo", xcoms=DOUBLE, counts=failed) == {"undone": 4}
    with pytest.raises(AirflowSkipException, match="did not succeed"):
        execute("undo", counts={("*", "failed"): 1})
    with pytest.raises(AirflowSkipException, match="no step of the execution failed"):
        execute("undo", counts={("double", "success"): 1})


def test_killing_the_task_ends_the_attempt(execute, dag, work):
    errors = []

    def run():
        try:
            execute("slow", xcoms=DOUBLE)
        except StepFailedError as error:
            errors.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    task = dag.get_task("slow")
    while task._attempt is None or task._attempt._handle is None:
        time.sleep(0.02)
    task.on_kill()
    thread.join()
    assert "stopped" in str(errors[0])
    assert list(work.iterdir()) == []


def test_nothing_is_left_of_an_attempt(execute, work):
    execute("double")
    assert [path for path in work.iterdir() if path.is_dir()] == []
    assert read_settings().work_folder == work
