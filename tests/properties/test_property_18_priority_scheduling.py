"""Feature: execution-engine, Property 18: Priority scheduling.

On the real thing: tests/integration/test_airflow_features.py (four priorities queued in one pool).
"""

from hypothesis import given
from hypothesis import strategies as st

from airflow_sop_provider.engine.priorities import PRIORITY_WEIGHTS, weight_of_conf
from airflow_sop_provider.executors.messages import FinishedMessage
from airflow_sop_provider.executors.sop_executor import SopExecutor
from tests.executors.attempts import RecordingLink, workload


@given(st.lists(st.sampled_from(sorted(PRIORITY_WEIGHTS)), min_size=1, max_size=20))
def test_among_queued_higher_priority_starts_first(names) -> None:
    """Feature: execution-engine, Property 18: Priority scheduling."""
    executor, link = SopExecutor(parallelism=1), RecordingLink()
    executor._link = link
    for number, name in enumerate(names):
        executor.queue_workload(workload(f"{name}-{number}", priority=weight_of_conf({"priority": name})), session=None)
    for _ in names:
        executor.heartbeat()
        last = link.sent[-1]
        done = FinishedMessage(task_instance_id=last.key.task_instance_id, state="reported", number=last.number)
        link.says.append(done)
        executor.sync()
    order = ["critical", "high", "normal", "low"]
    started = [message.key.step.partition("-")[0] for message in link.sent]
    assert started == sorted(names, key=order.index)
