"""Airflow's own database with an SOP in it, SQLite and PostgreSQL, in this process."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from itertools import count
from pathlib import Path

import pytest
from airflow import settings
from airflow.dag_processing.dagbag import BundleDagBag, sync_bag_to_db
from airflow.models import import_all_models
from airflow.models.dagbag import DBDagBag
from airflow.models.dagbundle import DagBundleModel
from airflow.models.taskinstance import TaskInstance
from airflow.utils.db import synchronize_log_template
from airflow.utils.session import create_session
from airflow.utils.state import DagRunState, TaskInstanceState
from airflow.utils.types import DagRunTriggeredByType, DagRunType
from sqlalchemy import create_engine, select
from sqlalchemy.orm import scoped_session, sessionmaker

from airflow_sop_provider.bundles.sop_bundle import SopBundle
from airflow_sop_provider.contract import AttemptKey
from airflow_sop_provider.store.tables import metadata
from tests.airflow_env import airflow_database
from tests.api.conftest import SOP
from tests.integration.postgres_server import PostgresServer

__all__ = ["airflow_database"]

DAG = "executor-chain"
Queue = Callable[..., AttemptKey]


@pytest.fixture(scope="module", params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def airflow_with_sop(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Name of the kind of database; Airflow uses one of that kind, and knows `DAG`."""
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("airflow")
        patch.setenv("AIRFLOW__DAG_PROCESSOR__DAG_BUNDLE_STORAGE_PATH", str(folder / "storage"))
        if request.param == "sqlite":
            request.getfixturevalue("airflow_database")
            _store_sop(folder)
            yield "sqlite"
            return
        server = PostgresServer()
        engine = create_engine(server.create_database("airflow"))
        made = sessionmaker(**{**settings.NonScopedSession.kw, "bind": engine})
        patch.setattr(settings, "engine", engine)
        patch.setattr(settings, "NonScopedSession", made)
        patch.setattr(settings, "Session", scoped_session(made))
        import_all_models()
        TaskInstance.metadata.create_all(engine)
        metadata.create_all(engine)
        synchronize_log_template()
        _store_sop(folder)
        yield "postgres"
        engine.dispose()
        server.stop()


@pytest.fixture
def queued(airflow_with_sop: str) -> Queue:
    """Make a run of `DAG` whose first task is queued: ``queued(max_tries=3)``."""

    def make(*, max_tries: int = 0) -> AttemptKey:
        run_id = f"manual__{next(_numbers)}"
        with create_session() as session:
            dag = DBDagBag(load_op_links=False).get_latest_version_of_dag(DAG, session=session)
            assert dag is not None
            dag.create_dagrun(
                run_id=run_id, run_after=datetime.now(UTC), run_type=DagRunType.MANUAL, state=DagRunState.RUNNING,
                triggered_by=DagRunTriggeredByType.TEST, conf={"number": 4}, session=session,
            )  # fmt: skip
            query = select(TaskInstance).where(TaskInstance.run_id == run_id, TaskInstance.task_id == "first")
            ti = session.scalars(query).one()
            ti.state, ti.try_number, ti.max_tries = TaskInstanceState.QUEUED, 1, max_tries
            return AttemptKey(sop=DAG, run_id=run_id, step="first", attempt=1, task_instance_id=str(ti.id))

    return make


_numbers = count(1)


def _store_sop(folder: Path) -> None:
    sops = folder / "sops"
    sops.mkdir()
    (sops / f"{DAG}.yaml").write_text(SOP.format(name=DAG))
    with create_session() as session:
        session.merge(DagBundleModel(name="executor"))
    bundle = SopBundle(name="executor", path=str(sops))
    bundle.refresh()
    bag = BundleDagBag(dag_folder=bundle.path, bundle_path=bundle.path, bundle_name=bundle.name)
    sync_bag_to_db(bag, bundle.name, None)
