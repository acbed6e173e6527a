"""Figures of executions over any window of time."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from airflow.api_fastapi.common.db.common import SessionDep
from fastapi import APIRouter, HTTPException, status
from fastapi.responses import PlainTextResponse

from airflow_sop_provider.api.access import ReadableSops
from airflow_sop_provider.api.exposition import CONTENT_TYPE, exposition
from airflow_sop_provider.store.base import utc_now
from airflow_sop_provider.store.happenings import levels_now
from airflow_sop_provider.store.metrics import Metrics, metrics_of

__all__ = ["router"]

router = APIRouter(tags=["metrics"])


@dataclass(frozen=True, kw_only=True)
class MetricsOfWindow(Metrics):
    """The figures, and of which window."""

    since: datetime
    until: datetime


@router.get("/metrics/summary")
def metrics_summary(
    session: SessionDep, readable: ReadableSops, since: datetime | None = None, until: datetime | None = None
) -> MetricsOfWindow:
    """Return the figures of executions that the caller may see; default: of the last 24 hours."""
    end = _aware(until or utc_now())
    begin = _aware(since) if since is not None else _day_before(end)
    if begin >= end:
        raise HTTPException(status.HTTP_422_UNPROCESSABLE_CONTENT, "`since` has to be before `until`.")
    return MetricsOfWindow(since=begin, until=end, **vars(metrics_of(session, readable, begin, end)))


def _day_before(moment: datetime) -> datetime:
    earliest = datetime.min.replace(tzinfo=UTC)
    return moment - timedelta(days=1) if moment - earliest > timedelta(days=2) else earliest


def _aware(moment: datetime) -> datetime:
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment


@router.get("/metrics", response_class=PlainTextResponse)
def metrics_for_prometheus(session: SessionDep, readable: ReadableSops) -> PlainTextResponse:
    """Return figures of the last hour in Prometheus' text format, over the executions that the caller may see.

    A scrape asks with a bearer token of Airflow, as everybody does. Beside them: queue, alerts, circuit breakers now.
    """
    now = utc_now()
    found = metrics_of(session, readable, now - timedelta(hours=1), now)
    text = exposition(found, levels_now(session, readable))
    return PlainTextResponse(text, media_type=CONTENT_TYPE)
