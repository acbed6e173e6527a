"""Who has proved who they are a moment ago: what a poll need not ask for each time.

Whoever follows thousands of executions asks several hundred times a second. For each call Airflow asks its database
whether the token was revoked, in a session of its own and on the event loop, where all other calls wait for it: that
costs more than the answer. So who called is remembered for seconds. What they may see is not: Airflow's auth manager
decides in every call.
"""

from __future__ import annotations

from typing import Annotated

from airflow.api_fastapi.app import get_auth_manager
from airflow.api_fastapi.auth.managers.models.base_user import BaseUser
from airflow.api_fastapi.auth.managers.models.resource_details import DagAccessEntity, DagDetails
from airflow.api_fastapi.core_api.security import bearer_scheme, get_user, oauth2_scheme
from airflow.models.dag import DagModel
from cachetools import TTLCache
from fastapi import Depends, HTTPException, Request, status
from fastapi.security import HTTPAuthorizationCredentials

__all__ = ["USER_SECONDS", "RecentUser", "check_readable", "recent_user"]

USER_SECONDS = 5.0
"""How long a revoked token, or a user's former roles, may still read where executions stand."""

_users: TTLCache[str, BaseUser] = TTLCache(maxsize=4096, ttl=USER_SECONDS)  # only touched on the event loop


async def recent_user(
    request: Request,
    oauth_token: Annotated[str | None, Depends(oauth2_scheme)],
    bearer: Annotated[HTTPAuthorizationCredentials | None, Depends(bearer_scheme)],
) -> BaseUser:
    """Return who calls, as Airflow knows them; for a bearer token that was proved in the last seconds without asking.

    :raises HTTPException: 401 or 403, Airflow's own.
    """
    token = bearer.credentials if bearer is not None and bearer.scheme.lower() == "bearer" else None
    known = _users.get(token) if token is not None else None
    if known is not None:
        return known
    user = await get_user(request, oauth_token, bearer)
    if token is not None:
        _users[token] = user
    return user


RecentUser = Annotated[BaseUser, Depends(recent_user)]


def check_readable(user: BaseUser, dag_id: str) -> None:
    """Let Airflow's auth manager decide whether the user may see this DAG's runs.

    :raises HTTPException: 403.
    """
    details = DagDetails(id=dag_id, team_name=DagModel.get_team_name(dag_id))
    allowed = get_auth_manager().is_authorized_dag(
        method="GET", access_entity=DagAccessEntity.RUN, details=details, user=user
    )
    if not allowed:
        raise HTTPException(status.HTTP_403_FORBIDDEN, "Forbidden")
