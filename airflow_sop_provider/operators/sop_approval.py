"""An ``approval`` step as an Airflow task: a step whose runner says what is asked, and a human-in-the-loop request.

Airflow knows it as a `HITLOperator`, so it stands among the Required Actions and its REST API takes answers. Where
`SopExecutor` is configured, that carries the step out, parks the task and judges what was answered.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow.providers.standard.operators.hitl import HITLOperator

from airflow_sop_provider.operators.sop_step import SopStepOperator

if TYPE_CHECKING:
    from airflow.sdk import Context

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
        """Refuse."""
        from airflow.sdk.exceptions import AirflowFailException

        raise AirflowFailException("Approvals need SopExecutor.")
