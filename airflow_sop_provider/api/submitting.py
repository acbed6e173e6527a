"""From a request to a DAG run: everything is checked first, so what cannot run creates nothing."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

from airflow.models.dag import DagModel
from airflow.models.dagbag import DBDagBag
from airflow.models.dagrun import DagRun
from airflow.sdk import timezone
from airflow.utils.state import DagRunState
from airflow.utils.types import DagRunTriggeredByType, DagRunType
from sqlalchemy import select
from sqlalchemy.orm import Session

from airflow_sop_provider.api.models import SubmitRequest
from airflow_sop_provider.contract.assignment import RESERVED_CONF_KEYS
from airflow_sop_provider.engine.assignments import InputsError, resolve_inputs
from airflow_sop_provider.engine.pools import BATCH_KEY
from airflow_sop_provider.engine.priorities import PRIORITY_KEY
from airflow_sop_provider.runs.documents import KnownDocument, document_of_sop
from airflow_sop_provider.runs.opening import facts_of_run
from airflow_sop_provider.sop.loader import check_text
from airflow_sop_provider.store.base import insert_if_absent
from airflow_sop_provider.store.execution_tables import ExecutionRow, SubmissionRow
from airflow_sop_provider.store.executions import find_execution, open_execution

__all__ = ["RefusedError", "Submission", "submit"]


class RefusedError(Exception):
    """The request is refused; nothing was created.

    :param status: HTTP status that says of what kind.
    """

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status


@dataclass(frozen=True, kw_only=True)
class Submission:
    """A request, who makes it, and its idempotency key."""

    sop: str
    request: SubmitRequest
    user: str
    key: str | None = None

    @property
    def digest(self) -> str:
        """SHA-256 of what is asked for: the same key for something else is a mistake."""
        asked = {"sop": self.sop, **self.request.model_dump(mode="json")}
        return hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()


def submit(session: Session, submission: Submission, dag_bag: DBDagBag) -> tuple[ExecutionRow, bool]:
    """Return the execution and whether it is a new one.

    :raises RefusedError: the SOP, its mode or the inputs do not allow it.
    """
    known = _submitted(session, submission)
    if known is not None:
        return known, False
    _check_dag(session, submission.sop)
    document = document_of_sop(session, submission.sop)
    if document is None:
        raise RefusedError(404, f"{submission.sop} is no SOP")
    _check_mode(submission, document)
    conf = _conf(submission, document)
    run_after = _run_after(submission)
    run_id = f"manual__{run_after.astimezone(UTC).isoformat()}_{uuid4().hex[:8]}"  # many may start at one moment
    if not _reserved(session, submission, run_id):
        known = _submitted(session, submission)
        assert known is not None, "whoever has the key has created its execution in the same transaction"
        return known, False
    run = _create(session, submission, dag_bag, conf, run_id, run_after)
    return open_execution(session, facts_of_run(run), document.context, document.text), True


def _reserved(session: Session, submission: Submission, run_id: str) -> bool:
    """Take the idempotency key for this execution; who comes second waits here until the first one's is stored."""
    if submission.key is None:
        return True
    values = {
        "requested_by": submission.user, "key": submission.key, "request_digest": submission.digest,
        "sop": submission.sop, "run_id": run_id,
    }  # fmt: skip
    return insert_if_absent(session, SubmissionRow, values)


def _submitted(session: Session, submission: Submission) -> ExecutionRow | None:
    if submission.key is None:
        return None
    query = select(SubmissionRow).where(
        SubmissionRow.requested_by == submission.user, SubmissionRow.key == submission.key
    )
    found = session.scalars(query).one_or_none()
    if found is None:
        return None
    if found.request_digest != submission.digest:
        raise RefusedError(409, "This idempotency key was used for another request; use a new one.")
    return find_execution(session, found.sop, found.run_id)


def _check_dag(session: Session, sop: str) -> None:
    dag = session.scalar(select(DagModel).where(DagModel.dag_id == sop, ~DagModel.is_stale))
    if dag is None:
        raise RefusedError(404, f"There is no SOP {sop}.")
    if dag.has_import_errors:
        raise RefusedError(
            409, f"{sop} has errors and cannot run; `sop validate` and Airflow's page of import errors say which."
        )
    if dag.is_paused:
        raise RefusedError(409, f"{sop} is paused; unpause it in Airflow first.")


def _check_mode(submission: Submission, document: KnownDocument) -> None:
    wanted, has = submission.request.execution_mode, document.context.mode
    if wanted in ("auto", has):
        return
    loaded = None if document.text is None else check_text(document.text, f"{submission.sop}.yaml").loaded
    reasons = [] if loaded is None else [found.reason for found in loaded.mode.incompatibilities]
    if reasons and wanted == "agent_centric":
        raise RefusedError(422, f"{submission.sop} cannot run as {wanted}: {'; '.join(reasons)}")
    raise RefusedError(409, f"{submission.sop} runs as {has}; change its mode to {wanted} first (`sop set-mode`).")


def _conf(submission: Submission, document: KnownDocument) -> dict[str, Any]:
    request = submission.request
    reserved = sorted(RESERVED_CONF_KEYS & request.inputs.keys())
    if reserved:
        raise RefusedError(422, f"`{reserved[0]}` is no input; give it beside the inputs.")
    try:
        inputs = resolve_inputs(submission.sop, document.context.inputs, request.inputs)
    except InputsError as error:
        raise RefusedError(422, str(error)) from None
    batch = None if request.schedule is None else request.schedule.batch
    extra = {PRIORITY_KEY: request.priority, BATCH_KEY: batch}
    return {**inputs, **{name: value for name, value in extra.items() if value is not None}}


def _run_after(submission: Submission) -> datetime:
    schedule = submission.request.schedule
    return timezone.utcnow() if schedule is None or schedule.not_before is None else schedule.not_before


def _create(
    session: Session, submission: Submission, dag_bag: DBDagBag, conf: dict[str, Any], run_id: str, run_after: datetime
) -> DagRun:
    dag = dag_bag.get_latest_version_of_dag(submission.sop, session=session)
    if dag is None:
        raise RefusedError(404, f"There is no SOP {submission.sop}.")
    try:
        return dag.create_dagrun(
            run_id=run_id,
            run_after=run_after,
            conf=conf,
            run_type=DagRunType.MANUAL,
            triggered_by=DagRunTriggeredByType.REST_API,
            triggering_user_name=submission.user,
            state=DagRunState.QUEUED,
            session=session,
        )
    except ValueError as error:
        raise RefusedError(422, str(error)) from error
