"""One step of an SOP as an Airflow task.

Where `SopExecutor` is configured it carries the step out and `execute` is never called: the task
is only a description, its `StepPayload` in ``executor_config``. Everywhere else (Celery,
KubernetesExecutor, ``dags test``) Airflow starts a worker and `execute` does the same work: the same
assignment, the same attempt, the same verdict. Being a `KubernetesPodOperator` it has pods as one of
its runtimes, and whatever cluster administrators have set up for that operator applies to steps.

Nothing of the step is an Airflow template: ``{{ ... }}`` in an SOP belongs to the SOP's own sandboxed
expressions.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from airflow.providers.cncf.kubernetes.operators.pod import KubernetesPodOperator

from airflow_sop_provider.contract.payload import PAYLOAD_KEY, StepPayload

if TYPE_CHECKING:
    from airflow.sdk import Context
    from kubernetes.client import models as k8s

    from airflow_sop_provider.airflow_settings import SopSettings
    from airflow_sop_provider.contract.assignment import Assignment
    from airflow_sop_provider.operators.local_attempt import LocalAttempt
    from airflow_sop_provider.runtimes.base import Outcome, RuntimeFailedError

__all__ = ["SopStepOperator"]


class SopStepOperator(KubernetesPodOperator):
    """A step of an SOP.

    :param item: the item of a ``for_each``; given by Airflow's dynamic task mapping.
    :param executor_config: must hold the step's `StepPayload` under ``sop``.
    """

    template_fields: Sequence[str] = ()
    ui_color = "#e8f0fe"

    def __init__(self, *, item: object = None, **kwargs: Any) -> None:
        super().__init__(deferrable=False, **kwargs)
        from airflow_sop_provider.operators.retrying import StepRetryPolicy

        self.item = item
        self.retry_policy = StepRetryPolicy()
        self._attempt: LocalAttempt | None = None
        self._ended: Outcome | None = None

    @property
    def payload(self) -> StepPayload:
        """The step as the runner will need it.

        :raises KeyError: the task was not made by `dag_factory`.
        """
        return StepPayload.model_validate((self.executor_config or {})[PAYLOAD_KEY])

    def execute(self, context: Context) -> Any:
        """Carry the step out and return its outputs.

        :raises AirflowSkipException: the step is not to run.
        :raises AirflowFailException: it failed and trying again cannot help.
        :raises StepFailedError: it failed and is to be tried again.
        """
        from airflow_sop_provider.airflow_settings import read_settings
        from airflow_sop_provider.operators.assigning import assignment_of
        from airflow_sop_provider.operators.concluding import conclude
        from airflow_sop_provider.runtimes.select import choose_runtime

        self._refuse_without_approval(context)
        settings = read_settings()
        assignment = assignment_of(self.payload, self.item, context)
        outcome: Outcome | RuntimeFailedError
        choice = asyncio.run(choose_runtime(settings.runtime, settings.of_runtimes()))
        self.log.info("The step runs on the %s runtime: %s", choice.name, choice.reason)
        if choice.name == "kubernetes":
            outcome = self._run_pod(assignment, settings, context)
        else:
            outcome = self._run_here(assignment, settings, choice.name)
        outputs = conclude(outcome, assignment, context)
        self.do_xcom_push = True  # off until now, because for this operator it means a sidecar
        return outputs

    def _refuse_without_approval(self, context: Context) -> None:
        if not self.payload.approvals:
            return
        from airflow.sdk.exceptions import AirflowFailException

        from airflow_sop_provider.operators.approval_engine import ApprovalEngine

        if (reason := ApprovalEngine(context).missing()) is not None:
            raise AirflowFailException(reason)

    def build_pod_request_obj(self, context: Context | None = None, *, dry_run: bool = False) -> k8s.V1Pod:
        """Return the step's pod; `pod_image` has its say where it names an image."""
        from airflow_sop_provider.contract.portable import start_command
        from airflow_sop_provider.operators.pod_image import settle

        pod = super().build_pod_request_obj(context, dry_run=dry_run)
        if self.cmds == start_command():
            settle(pod.spec, self.base_container_name)
        return pod

    def on_kill(self) -> None:
        """End the attempt; returns once nothing of it runs."""
        if self._attempt is not None:
            self._attempt.stop()
        if self.pod is not None:
            super().on_kill()

    def cleanup(
        self,
        pod: k8s.V1Pod,
        remote_pod: k8s.V1Pod,
        xcom_result: dict[Any, Any] | None = None,
        context: Context | None = None,
    ) -> None:
        """Remember how the pod ended, and outputs that stand in its log, before it is deleted."""
        from airflow_sop_provider.operators.pod_attempt import outcome_of_pod, with_outputs

        ended = outcome_of_pod(remote_pod, self.base_container_name)
        self._ended = with_outputs(ended, lambda: self._output_of(remote_pod))
        super().cleanup(pod, remote_pod, xcom_result, context)

    def _run_here(self, assignment: Assignment, settings: SopSettings, runtime: str) -> Outcome | RuntimeFailedError:
        from airflow_sop_provider.operators.local_attempt import LocalAttempt

        self._attempt = LocalAttempt(assignment, settings, runtime, self.log)
        return self._attempt.run()

    def _run_pod(self, assignment: Assignment, settings: SopSettings, context: Context) -> Outcome:
        from airflow.sdk.exceptions import AirflowException

        from airflow_sop_provider.operators.pod_attempt import outcome_of_pod, pod_fields

        for field, value in pod_fields(assignment, settings).items():
            setattr(self, field, value)
        try:
            super().execute(context)
        except AirflowException:
            # The verdict in the pod's termination message says more than the operator's own error.
            if self._ended is None:
                raise
        return self._ended or outcome_of_pod(None, self.base_container_name)

    def _output_of(self, pod: k8s.V1Pod) -> list[str]:
        name, namespace = pod.metadata.name, pod.metadata.namespace
        # raw: the client (36) gives a text as Python would write its bytes, in one line that begins with b'
        answer = self.client.read_namespaced_pod_log(
            name, namespace, container=self.base_container_name, _preload_content=False
        )
        content: bytes = answer.data
        return content.decode(errors="replace").splitlines()

    @classmethod
    def task_arguments(cls, payload: StepPayload) -> Mapping[str, Any]:
        """Return the arguments that make a task of this class carry ``payload``."""
        return {"executor_config": {PAYLOAD_KEY: payload.model_dump(mode="json", exclude_none=True)}}
