"""Feature: execution-engine, Property 9: Centralised state."""

from hypothesis import given
from hypothesis import strategies as st

from airflow_sop_provider.engine.execution_state import ExecutionState, TaskState
from tests.properties.executions import graphs

AIRFLOW_STATES = [
    None, "scheduled", "queued", "running", "success", "failed", "upstream_failed", "skipped", "up_for_retry",
    "restarting", "deferred", "removed", "up_for_reschedule", "awaiting_input",
]  # fmt: skip


@given(graphs(), st.data())
def test_every_step_is_in_exactly_one_group_and_all_dependencies_can_be_read(graph, data) -> None:
    """Feature: execution-engine, Property 9: Centralised state."""
    tasks = [
        TaskState(step, data.draw(st.sampled_from(AIRFLOW_STATES)), index)
        for step in graph.order
        for index in data.draw(st.sampled_from([[-1], [], [0, 1, 2]]))
    ]
    strangers = [TaskState("not_a_step", "failed"), TaskState("s0_items", "running")]
    state = ExecutionState.of(graph, [*tasks, *strangers])
    groups = [state.completed, state.running, state.pending]
    assert sorted(step for group in groups for step in group) == sorted(graph.step_ids)
    assert state.dependencies == {step: graph.prerequisites(step) for step in graph.step_ids}
    assert 0.0 <= state.progress <= 1.0
    assert (state.progress == 1.0) == (not state.running and not state.pending)


@given(graphs(), st.data())
def test_a_mapped_step_is_over_only_when_all_its_instances_are(graph, data) -> None:
    """Feature: execution-engine, Property 9: Centralised state."""
    step = data.draw(st.sampled_from(graph.step_ids))
    over = data.draw(st.lists(st.sampled_from(["success", "failed", "skipped"]), max_size=4))
    going = data.draw(st.lists(st.sampled_from([None, "queued", "running", "up_for_retry"]), min_size=1, max_size=3))
    tasks = [TaskState(step, state, index) for index, state in enumerate([*over, *going])]
    assert step not in ExecutionState.of(graph, tasks).completed
    assert (
        step
        in ExecutionState.of(
            graph, [TaskState(step, state, i) for i, state in enumerate(over or ["success"])]
        ).completed
    )
