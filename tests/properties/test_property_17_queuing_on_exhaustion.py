"""Feature: execution-engine, Property 17: Queuing on exhaustion.

On the real thing: tests/integration/test_airflow_features.py (a pool of one slot).
"""

from hypothesis import given
from hypothesis import strategies as st

from airflow_sop_provider.executors.messages import AttemptMessage, FinishedMessage
from airflow_sop_provider.executors.sop_executor import SopExecutor
from tests.executors.attempts import RecordingLink, workload


def _executor(parallelism: int) -> tuple[SopExecutor, RecordingLink]:
    executor, link = SopExecutor(parallelism=parallelism), RecordingLink()
    executor._link = link
    return executor, link


@given(st.integers(1, 5), st.lists(st.integers(1, 1000), min_size=1, max_size=25), st.data())
def test_no_room_means_queued_and_a_free_place_goes_to_the_next(parallelism, priorities, data) -> None:
    """Feature: execution-engine, Property 17: Queuing on exhaustion."""
    executor, link = _executor(parallelism)
    weight_of = {}
    for number, priority in enumerate(priorities):
        item = workload(f"s{number}", priority=priority)
        weight_of[str(item.ti.id)] = priority
        executor.queue_workload(item, session=None)
    running: list[str] = []
    started: list[str] = []
    sent: dict[str, AttemptMessage] = {}
    while len(started) < len(priorities):
        before = len(link.sent)
        executor.heartbeat()
        sent |= {message.key.task_instance_id: message for message in link.sent[before:]}
        fresh = [message.key.task_instance_id for message in link.sent[before:]]
        waiting = sorted((weight_of[one] for one in weight_of if one not in started), reverse=True)
        assert sorted((weight_of[one] for one in fresh), reverse=True) == waiting[: len(fresh)]
        running += fresh
        started += fresh
        assert len(running) <= parallelism
        assert len(running) == min(parallelism, len(weight_of) - (len(started) - len(running)))
        assert len(executor.queued_tasks) == len(priorities) - len(started)
        done = data.draw(st.sampled_from(running))
        running.remove(done)
        link.says.append(FinishedMessage(task_instance_id=done, state="reported", number=sent[done].number))
        executor.sync()
    assert len(set(started)) == len(priorities)
