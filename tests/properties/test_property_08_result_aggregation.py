"""Feature: execution-engine, Property 8: Result aggregation."""

from hypothesis import given
from hypothesis import strategies as st

from airflow_sop_provider.engine.execution_state import ExecutionResult, ExecutionStatus, TaskState
from tests.properties.executions import executions, graphs


@given(graphs(), st.data())
def test_all_steps_done_give_one_result_with_all_outputs(graph, data) -> None:
    """Feature: execution-engine, Property 8: Result aggregation."""
    outputs = {step: data.draw(st.dictionaries(st.text(max_size=3), st.integers(), max_size=2)) for step in graph.order}
    tasks = [TaskState(step, "success") for step in graph.order]
    result = ExecutionResult.of(graph, data.draw(st.permutations(tasks)), outputs)
    assert result.status is ExecutionStatus.COMPLETED
    assert dict(result.outputs) == outputs
    assert result.failed == ()


@given(executions())
def test_a_failure_is_never_completed(execution) -> None:
    """Feature: execution-engine, Property 8: Result aggregation."""
    graph, tasks = execution
    result = ExecutionResult.of(graph, tasks, {step: {"of": step} for step in graph.order})
    states = {task.task_id: task.state for task in tasks}
    succeeded = {step for step, state in states.items() if state == "success"}
    failed = {step for step, state in states.items() if state == "failed"}
    assert set(result.outputs) == succeeded
    assert set(result.failed) == failed
    if not failed:
        assert result.status is ExecutionStatus.COMPLETED
    elif succeeded & set(graph.ends):
        assert result.status is ExecutionStatus.PARTIALLY_COMPLETED
    else:
        assert result.status is ExecutionStatus.FAILED
