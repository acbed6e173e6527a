"""`SopExecutor`: hands attempts to one asynchronous child process and reports what they came to.

The scheduler's process keeps no more than a table of what is running. All waiting, all transactions
and all containers live in the child (`child.py`), so the scheduler's loop never waits
for a step, and thousands of steps cost no process each on Airflow's side (design, sections 3-4).
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from airflow.executors import workloads
from airflow.executors.base_executor import BaseExecutor
from airflow.utils.state import TaskInstanceState

from airflow_sop_provider.contract import AttemptKey
from airflow_sop_provider.contract.payload import PAYLOAD_KEY
from airflow_sop_provider.executors.child_link import ChildGone, ChildLink
from airflow_sop_provider.executors.messages import AttemptMessage, FinishedMessage, Identity, RevokeMessage
from airflow_sop_provider.executors.sqlite_clock import use_precise_now

if TYPE_CHECKING:
    from airflow.models.taskinstance import TaskInstance

__all__ = ["SopExecutor"]


class SopExecutor(BaseExecutor):
    """Runs the steps of SOPs as isolated containers or processes.

    Configure it beside another executor, ``[core] executor =
    LocalExecutor,sop:airflow_sop_provider.executors.sop_executor.SopExecutor``, or alone.
    It runs `SopStepOperator` tasks only; any other task fails with a message that says so.
    """

    is_local = True
    supports_multi_team = False
    # The child writes the logs on the scheduler's host, so that is where they are served from.
    serve_logs = True

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._attempts: dict[str, AttemptMessage] = {}
        self._link: ChildLink | None = None
        self._messages = 0

    def start(self) -> None:
        """Start the child process."""
        use_precise_now()
        self._link = ChildLink()

    # -- work in ---------------------------------------------------------------------------------

    def _process_workloads(self, workload_items: Sequence[workloads.All]) -> None:
        for workload in workload_items:
            if not isinstance(workload, workloads.ExecuteTask):
                raise TypeError(f"SopExecutor runs tasks only, not {type(workload).__name__}")
            del self.queued_tasks[workload.key]
            self._carry(_message_of_workload(workload))

    def _carry(self, message: AttemptMessage) -> None:
        self._messages += 1
        message = message.model_copy(update={"number": self._messages})
        self._attempts[message.key.task_instance_id] = message
        self.running.add(message.task_instance_key)
        self._send(message)

    def _send(self, message: AttemptMessage | RevokeMessage) -> None:
        link = self._link
        if link is None:
            raise RuntimeError("SopExecutor was given work before start() or after end()")
        try:
            link.send(message)
        except ChildGone as gone:
            self._replace_child(gone)

    # -- results out -----------------------------------------------------------------------------

    def sync(self) -> None:
        """Report attempts that have ended; start the child anew if it died."""
        if self._link is None:
            return
        try:
            messages = self._link.receive()
        except ChildGone as gone:
            self._replace_child(gone)
            return
        for message in messages:
            self._finished(message)

    def _finished(self, message: FinishedMessage) -> None:
        attempt = self._attempts.get(message.task_instance_id)
        if attempt is None or attempt.number > message.number:
            return  # revoked, or people have answered since and the task is under way again
        del self._attempts[message.task_instance_id]
        if message.state == "elsewhere":
            # An event would have the scheduler fail a task instance that runs: it would run again.
            self.log.info("%s is carried by another scheduler's executor", attempt.task_instance_key)
            self.running.discard(attempt.task_instance_key)
        elif message.state == "reported":
            # An event is for what Airflow does not know. It costs the scheduler a query with five joins and a loop
            # without a pause, and changes nothing where the task instance has the state that the step came to.
            self.log.info("%s is over", attempt.task_instance_key)
            self.running.discard(attempt.task_instance_key)
        else:
            self.change_state(attempt.task_instance_key, TaskInstanceState(message.state), message.info)

    def _replace_child(self, reason: ChildGone) -> None:
        self.log.warning("%s; starting another, which adopts %d running attempts", reason, len(self._attempts))
        if self._link is not None:
            self._link.close(timeout=0)
        self._link = ChildLink()
        for message in self._attempts.values():
            try:
                self._link.send(message)
            except ChildGone:
                # The next sync() finds it dead and starts over; nothing is lost, the table is kept.
                self.log.exception("the executor's new child died at once")
                return

    # -- adoption and revocation -----------------------------------------------------------------

    def try_adopt_task_instances(self, tis: Sequence[TaskInstance]) -> Sequence[TaskInstance]:
        """Take over attempts of a scheduler that died.

        A step that was queued is started, one that runs is followed on: starting is idempotent by the
        attempt's name, so nothing runs twice. Tasks without a payload are left to be reset.
        """
        left = []
        for ti in tis:
            message = _message_of_task_instance(ti)
            if message is None:
                left.append(ti)
            else:
                self._carry(message)
        if len(tis) > len(left):
            self.log.info("Adopted %d attempts of another scheduler", len(tis) - len(left))
        return left

    def revoke_task(self, *, ti: TaskInstance) -> None:
        """Forget a task instance and stop what runs of it (called when it was queued for too long)."""
        self.queued_tasks.pop(ti.key, None)
        self.running.discard(ti.key)
        if self._attempts.pop(str(ti.id), None) is not None:
            self._send(RevokeMessage(task_instance_id=str(ti.id)))

    # -- shutdown --------------------------------------------------------------------------------

    def end(self) -> None:
        """End the child. Running steps go on; the next scheduler adopts them."""
        if self._link is not None:
            self.sync()
            self._link.close()
            self._link = None

    def terminate(self) -> None:
        """End the child at once; running steps go on."""
        if self._link is not None:
            self._link.close(timeout=0)
            self._link = None


def _own_identity() -> Identity:
    from airflow.sdk.api.client import get_hostname, getuser

    hostname: str = get_hostname()  # type: ignore[no-untyped-call]  # Airflow's own
    return Identity(hostname=hostname, unixname=getuser(), pid=os.getpid())


def _payload_of(executor_config: Any) -> dict[str, Any] | None:
    payload = executor_config.get(PAYLOAD_KEY) if isinstance(executor_config, dict) else None
    return payload if isinstance(payload, dict) else None


def _key_of(ti: Any) -> AttemptKey:
    """Return the attempt of a task instance, the scheduler's or a workload's."""
    return AttemptKey(
        sop=ti.dag_id,
        run_id=ti.run_id,
        step=ti.task_id,
        map_index=ti.map_index,
        attempt=ti.try_number,
        task_instance_id=str(ti.id),
    )


def _message_of_workload(workload: workloads.ExecuteTask) -> AttemptMessage:
    ti = workload.ti
    return AttemptMessage(
        key=_key_of(ti),
        payload=_payload_of(ti.executor_config),
        log_path=workload.log_path or "",
        identity=_own_identity(),
    )


def _message_of_task_instance(ti: TaskInstance) -> AttemptMessage | None:
    from airflow.utils.helpers import log_filename_template_renderer

    payload = _payload_of(ti.executor_config)
    if payload is None:
        return None
    started = ti.state == TaskInstanceState.RUNNING and ti.hostname and ti.pid
    return AttemptMessage(
        key=_key_of(ti),
        payload=payload,
        log_path=log_filename_template_renderer()(ti=ti),
        identity=Identity(hostname=ti.hostname, unixname=ti.unixname, pid=ti.pid) if started else _own_identity(),
    )
