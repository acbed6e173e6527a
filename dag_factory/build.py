"""A valid SOP as a DAG."""

from __future__ import annotations

from airflow.sdk.definitions.param import ParamsDict

from airflow_sop_provider.sop.loaded import LoadedSop
from airflow_sop_provider.sop.models import Sop
from airflow_sop_provider.timetables.sop_schedule import SopSchedule
from dag_factory.docs import dag_doc
from dag_factory.params import params_of
from dag_factory.site import site
from dag_factory.sop_dag import SopDag
from dag_factory.tasks import add_agent_task, add_rollback, add_steps

__all__ = ["build_dag"]

_TAG_LIMIT = 100  # characters, of Airflow's table


def build_dag(loaded: LoadedSop) -> SopDag:
    """Return the DAG of an SOP: one task per step, or one task for an agent.

    Catch-up is the schedule's own affair (`SopSchedule`), hence never Airflow's.
    """
    sop, settings = loaded.sop, site().settings
    dag = SopDag(
        dag_id=sop.sop,
        dag_display_name=sop.title,
        description=sop.title,
        doc_md=dag_doc(loaded),
        schedule=_schedule(sop),
        catchup=False,
        tags=_tags(loaded),
        max_active_runs=settings.max_active_runs,
        max_active_tasks=settings.max_active_tasks,
        is_paused_upon_creation=settings.paused_upon_creation,
        render_template_as_native_obj=False,
    )
    with dag:
        if loaded.mode.mode == "agent_centric":
            add_agent_task(loaded)
        else:
            add_rollback(loaded, add_steps(loaded))
    # Last: every task would get a copy, for templates that steps do not have, and Airflow would check the
    # copies' JSON Schemas whenever it serialises the DAG, which is then most of what a DAG costs.
    dag.params = ParamsDict(params_of(sop))
    return dag


def _schedule(sop: Sop) -> SopSchedule | None:
    schedule = sop.schedule
    if schedule is None:
        return None
    return SopSchedule(schedule.cron, timezone=schedule.timezone, window=schedule.window, catchup=schedule.catchup)


def _tags(loaded: LoadedSop) -> list[str]:
    tags = (loaded.sop.control, loaded.sop.control_type, loaded.mode.mode)
    return [tag[:_TAG_LIMIT] for tag in tags if tag]
