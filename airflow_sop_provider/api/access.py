"""Who may see and do what: Airflow's own auth manager decides, on every endpoint that is not a runner's."""

from __future__ import annotations

from typing import Annotated

from airflow.api_fastapi.app import get_auth_manager
from airflow.api_fastapi.auth.managers.models.resource_details import DagAccessEntity
from airflow.api_fastapi.core_api.security import GetUserDep, requires_access_dag
from fastapi import Depends

__all__ = ["CanAnswer", "CanRead", "CanRun", "CanSubmit", "GetUserDep", "ReadableSops", "readable_sops"]

CanRead = Depends(requires_access_dag(method="GET", access_entity=DagAccessEntity.RUN))
"""Who may see the SOP's runs in Airflow."""

CanSubmit = Depends(requires_access_dag(method="POST", access_entity=DagAccessEntity.RUN))
"""Who may trigger it in Airflow."""

CanRun = Depends(requires_access_dag(method="PUT", access_entity=DagAccessEntity.RUN))
"""Who may change the state of its runs in Airflow."""

CanAnswer = Depends(requires_access_dag(method="PUT", access_entity=DagAccessEntity.HITL_DETAIL))
"""Who may answer its requests for input in Airflow; whether an answer counts is decided by the approval's terms."""


def readable_sops(user: GetUserDep) -> set[str]:
    """Return the ids of the SOPs (and other DAGs) that the user may see."""
    return get_auth_manager().get_authorized_dag_ids(user=user, method="GET")


ReadableSops = Annotated[set[str], Depends(readable_sops)]
