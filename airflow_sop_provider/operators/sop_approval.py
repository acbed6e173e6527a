"""An ``approval`` step as an Airflow task: a step whose runner says what is asked, and a human-in-the-loop request.

Airflow knows it as a `HITLOperator`, so it stands among the Required Actions and its REST API takes answers. Where
`SopExecutor` is configured, that carries the step out, parks the task and judges what was answered, and nothing here is
called. Elsewhere a worker does the same, twice: it asks, parks the task as Airflow's own operator does, and comes back
with an answer, which the engine judges.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow.providers.standard.operators.hitl import HITLOperator

from airflow_sop_provider.operators.sop_step import SopStepOperator

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_sop_provider.contract.approval import Settled

__all__ = ["SopApprovalOperator"]


class SopApprovalOperator(SopStepOperator, HITLOperator):  # type: ignore[misc]  # types of `template_fields` differ
    """A step that waits for people.

    :param subject: headline of the request until it is asked.
    :param options: what can be answered.
    """

    ui_color = "#fdf1d6"

    def __init__(self, **kwargs: Any) -> None:
        limit = kwargs.pop("execution_timeout", None)  # of the runner; Airflow would take it for the time to answer
        super().__init__(**kwargs)
        self.execution_timeout = limit

    def execute(self, context: Context) -> Any:
        """Ask people; return the step's outputs if they have approved exactly this before.

        :raises TaskAwaitingInput: Airflow is to park the task.
        :raises AirflowSkipException: the step is not to run.
        :raises AirflowFailException: it failed and trying again cannot help.
        """
        from airflow_sop_provider.operators.approval_engine import ApprovalEngine

        question = super().execute(context)
        return self._conclude(ApprovalEngine(context).ask(question), context)

    def execute_complete(self, context: Context, event: dict[str, Any]) -> Any:
        """Go on when people have answered or the time is over; the engine judges, whatever the event says.

        :raises TaskAwaitingInput: it is not decided yet.
        :raises AirflowFailException: it was rejected or has expired, and the SOP fails the step of that.
        """
        from airflow_sop_provider.operators.approval_engine import ApprovalEngine

        return self._conclude(ApprovalEngine(context).settle(), context)

    def _conclude(self, settled: Settled, context: Context) -> Any:
        from airflow.sdk.exceptions import AirflowFailException, TaskAwaitingInput

        self.log.info("%s", settled.message)
        if settled.failed:
            raise AirflowFailException(settled.message)
        if settled.state == "void":
            return self.execute(context)
        if settled.outputs is not None:
            self.do_xcom_push = True
            return settled.outputs
        wait = settled.wait_seconds
        raise TaskAwaitingInput(
            method_name="execute_complete", timeout=None if wait is None else timedelta(seconds=wait)
        )
