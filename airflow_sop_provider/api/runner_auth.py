"""Who calls a runner's endpoint: the attempt that its token proves, and what that may touch.

Two kinds of tokens are taken and nothing else: ours, signed for one attempt, and a pod's projected service-account
token, verified with the cluster's public keys and mapped by the pod to its attempt. A token ends with its attempt.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Annotated, Any

from airflow.utils.session import create_session
from fastapi import Depends, HTTPException, status
from fastapi.concurrency import run_in_threadpool
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from sqlalchemy import Connection, select, update
from sqlalchemy.orm import Session

from airflow_sop_provider.airflow_settings import engine_secret, read_settings
from airflow_sop_provider.api.pod_keys import ClusterKeySource
from airflow_sop_provider.api.pod_tokens import PodClaims, PodTokenError, PodTokenVerifier
from airflow_sop_provider.contract.attempt import AttemptKey
from airflow_sop_provider.engine.runner_tokens import RunnerTokenError, attempt_of_token, key_of_secret
from airflow_sop_provider.store.attempts import find_attempt
from airflow_sop_provider.store.base import utc_now
from airflow_sop_provider.store.execution_tables import AttemptRow, ExecutionRow

__all__ = [
    "Proof",
    "RunnerIdentity",
    "RunnerRefusedError",
    "authenticated_runner",
    "heard_from",
    "identify",
    "proved",
    "refused",
    "running_attempt",
    "signing_key",
]

Proof = AttemptKey | PodClaims
"""What a token says by itself: an attempt, or a pod of the cluster."""

_BEARER = HTTPBearer(
    auto_error=False, description="The token of one attempt, from the file SOP_ENGINE_TOKEN_FILE names."
)


class RunnerRefusedError(Exception):
    """The token opens nothing; the message says why, without anything of the token."""


@dataclass(frozen=True, kw_only=True)
class RunnerIdentity:
    """One attempt that calls.

    :param execution_id: number of its execution in the engine's tables, ``attempt_id`` its own.
    :param data_sources: what it may touch in the fleet: name -> {server, tools}.
    :param kind: of its payload; see `AttemptBegin`.
    :param digest: of its SOP's document, None where that is not known.
    """

    execution_id: int
    attempt_id: int
    sop: str
    run_id: str
    step: str
    map_index: int
    attempt: int
    task_instance_id: str
    data_sources: Mapping[str, Any]
    kind: str
    digest: str | None


def signing_key() -> bytes:
    """Return the key of our own tokens, the same in every component of an Airflow."""
    return key_of_secret(engine_secret())


async def prove(token: str) -> Proof:
    """Return what a token proves by itself, without asking the database.

    :raises RunnerRefusedError: nothing.
    """
    try:
        return attempt_of_token(token, signing_key())
    except RunnerTokenError as error:
        pods = _pod_tokens()
        if pods is None:
            raise RunnerRefusedError(str(error)) from None
    try:
        return await pods.verify(token)
    except PodTokenError as error:
        raise RunnerRefusedError(str(error)) from None


def running_attempt(session: Session, proof: Proof) -> AttemptRow:
    """Return the attempt that was proved, as long as it runs.

    :raises RunnerRefusedError: there is none, or it is over.
    """
    row = find_attempt(session, proof) if isinstance(proof, AttemptKey) else _attempt_of_pod(session, proof)
    if row is None:
        raise RunnerRefusedError("the engine knows no such attempt")
    if row.ended_at is not None:
        raise RunnerRefusedError("the attempt is over")
    return row


def heard_from(connection: Connection, proof: Proof) -> int | None:
    """Renew the sign of life of the attempt that was proved, in one statement; return how many events are stored.

    None: it is over, or not known by this proof yet; `running_attempt` says which.
    """
    row = AttemptRow
    if isinstance(proof, AttemptKey):
        which = (row.task_instance_id == proof.task_instance_id, row.attempt == proof.attempt)
    else:
        which = (row.container == proof.name, row.pod_uid == proof.uid)
    alive = update(row).where(*which, row.ended_at.is_(None)).values(heartbeat_at=utc_now())
    return connection.execute(alive.returning(row.events_seen)).scalar()


async def identify(token: str) -> RunnerIdentity:
    """Return the attempt that a token proves.

    :raises RunnerRefusedError: it proves none, or one that is over.
    """
    return await run_in_threadpool(_known, await prove(token))


async def proved(credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(_BEARER)]) -> Proof:
    """Answer 401 unless the caller's token proves an attempt; whether that runs is still to be asked.

    :raises HTTPException: 401.
    """
    if credentials is None:
        raise refused("there is no bearer token")
    try:
        return await prove(credentials.credentials)
    except RunnerRefusedError as error:
        raise refused(str(error)) from None


async def authenticated_runner(proof: Annotated[Proof, Depends(proved)]) -> RunnerIdentity:
    """Answer 401 unless the caller is an attempt that runs.

    :raises HTTPException: 401.
    """
    try:
        return await run_in_threadpool(_known, proof)
    except RunnerRefusedError as error:
        raise refused(str(error)) from None


def _attempt_of_pod(session: Session, claims: PodClaims) -> AttemptRow | None:
    """Return the attempt whose container a pod is; the first pod of that name that calls is the only one believed."""
    query = select(AttemptRow).where(AttemptRow.container == claims.name).order_by(AttemptRow.id.desc()).limit(1)
    row = session.scalars(query.with_for_update()).one_or_none()
    if row is None or row.pod_uid not in (None, claims.uid):
        return None
    if row.pod_uid is None:
        row.pod_uid = claims.uid
    return row


def _known(proof: Proof) -> RunnerIdentity:
    with create_session(scoped=False) as session:
        row = running_attempt(session, proof)
        execution = session.get_one(ExecutionRow, row.execution_id)
        return RunnerIdentity(
            execution_id=row.execution_id,
            attempt_id=row.id,
            sop=execution.sop,
            run_id=execution.run_id,
            step=row.step,
            map_index=row.map_index,
            attempt=row.attempt,
            task_instance_id=row.task_instance_id,
            data_sources=row.data_sources,
            kind=row.kind,
            digest=execution.digest,
        )


@cache
def _pod_tokens() -> PodTokenVerifier | None:
    """Return what verifies tokens of pods, None where steps do not run as pods."""
    from airflow_sop_provider.runtimes.kubernetes import connect_by_environment

    settings = read_settings()
    if "kubernetes" not in settings.runtime or settings.engine_url is None:
        return None
    return PodTokenVerifier(ClusterKeySource(connect_by_environment()), namespaces=[settings.namespace or "default"])


def refused(why: str) -> HTTPException:
    """Return the 401 that says why."""
    return HTTPException(
        status.HTTP_401_UNAUTHORIZED,
        f"This endpoint takes the token of a running attempt: {why}.",
        headers={"WWW-Authenticate": "Bearer"},
    )
