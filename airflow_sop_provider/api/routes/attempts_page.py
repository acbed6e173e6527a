"""The tab `Attempts` of a task instance in Airflow's UI: why each try was followed by another, when, and with what.

Airflow keeps reason and delay of a retry in its history of task instances and shows neither, in the UI or over REST. So
this page stands beside its own tabs, with what is stored of every attempt. It is plain HTML, because what it shows does
not change while somebody reads it, and because a table needs no program.
"""

from __future__ import annotations

from typing import Annotated

from airflow.api_fastapi.common.db.common import SessionDep
from fastapi import APIRouter, Query
from fastapi.responses import HTMLResponse
from jinja2 import Environment

from airflow_sop_provider.api.access import CanRead
from airflow_sop_provider.runs.opening import opened
from airflow_sop_provider.store.execution_queries import attempts_of
from airflow_sop_provider.store.execution_tables import AttemptRow

__all__ = ["router"]

router = APIRouter(tags=["executions"])

_PATH = "/sops/{dag_id}/executions/{run_id}/steps/{step}/attempts.html"

_PAGE = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True).from_string("""\
<!doctype html>
<html lang="en">
<meta charset="utf-8">
<title>Attempts of {{ step }}</title>
<style>
  :root { color-scheme: light dark }
  body { font: 14px system-ui, sans-serif; margin: 1rem }
  table { border-collapse: collapse }
  th, td { border-bottom: 1px solid #8884; padding: .4rem .8rem .4rem 0; text-align: left; vertical-align: top }
</style>
{% if not attempts %}
<p>Nothing is stored of this task: it has not begun, or it is no step of an SOP.</p>
{% else %}
<table>
<tr><th>Try<th>State<th>Error<th>What happened<th>What followed<th>Memory limit<th>Began<th>Ended<th>Container
{% for one in attempts %}
<tr><td>{{ one.attempt }}<td>{{ one.state }}<td>{{ one.error_type or "" }} {{ one.error_code or "" }}
<td>{{ one.error_message or "" }}<td>{{ one.retry_reason or "" }}
<td>{{ "%d MiB" % (one.memory_bytes // 1048576) if one.memory_bytes else "" }}
<td>{{ one.started_at.isoformat(timespec="seconds") }}
<td>{{ one.ended_at.isoformat(timespec="seconds") if one.ended_at else "" }}<td>{{ one.container or "" }}
{% endfor %}
</table>
{% endif %}
</html>
""")


@router.get(_PATH, dependencies=[CanRead], response_class=HTMLResponse)
def show_attempts(
    dag_id: str, run_id: str, step: str, session: SessionDep, map_index: Annotated[str, Query(max_length=20)] = "-1"
) -> HTMLResponse:
    """Show every attempt of a step: error, what followed, memory, times.

    :param map_index: of a ``for_each``; whatever is no number stands for a step without one, as the UI gives it.
    """
    index = int(map_index) if map_index.isdigit() else -1
    execution = opened(session, dag_id, run_id)
    stored: list[AttemptRow] = [] if execution is None else list(attempts_of(session, execution))
    attempts = sorted((one for one in stored if (one.step, one.map_index) == (step, index)), key=lambda one: one.id)
    # it is shown in a frame of Airflow's own pages, and runs nothing
    headers = {"Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'self'"}
    return HTMLResponse(_PAGE.render(step=step, attempts=attempts), headers=headers)
