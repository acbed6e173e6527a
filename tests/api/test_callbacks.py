"""Airflow's own failure callbacks with our notifier: of a DAG and of a task, called by Airflow's code, not by ours."""

from __future__ import annotations

import hashlib
import hmac
import json
from typing import Any

import pytest
import structlog
from airflow.callbacks.callback_requests import DagCallbackRequest, DagRunContext
from airflow.dag_processing.dagbag import BundleDagBag, sync_bag_to_db
from airflow.dag_processing.processor import _execute_dag_callbacks
from airflow.models.dagbundle import DagBundleModel
from airflow.models.dagrun import DagRun
from airflow.utils.session import create_session
from sqlalchemy import select

from tests.notifications.receiver import SECRET, Receiver, receiver

__all__ = ["receiver"]

DAG = """\
from airflow.providers.standard.operators.bash import BashOperator
from airflow.sdk import DAG

from airflow_sop_provider.notifications.webhook import WebhookNotifier

with DAG("told", schedule=None, on_failure_callback=WebhookNotifier(conn_id="ops", path="/dag")):
    tell = WebhookNotifier(conn_id="ops", path="/task")
    BashOperator(task_id="fail", bash_command="exit 1", on_failure_callback=tell)
"""


@pytest.fixture(scope="module")
def failed(airflow_database, tmp_path_factory) -> tuple[BundleDagBag, DagRun]:
    """The DAG, and a run of it that has failed; nobody was there to be told."""
    folder = tmp_path_factory.mktemp("told")
    (folder / "told.py").write_text(DAG)
    with create_session() as session:
        session.merge(DagBundleModel(name="told"))
    bag = BundleDagBag(dag_folder=str(folder), bundle_path=folder, bundle_name="told")
    sync_bag_to_db(bag, "told", None)
    return bag, bag.dags["told"].test()


def signed(receiver: Receiver) -> dict[str, Any]:
    """Return the one message that arrived, after a look at its signature."""
    [(path, headers, body)] = receiver.got
    said = headers["X-SOP-Timestamp"].encode() + b"." + body
    assert headers["X-SOP-Signature"] == f"sha256={hmac.new(SECRET.encode(), said, hashlib.sha256).hexdigest()}"
    return {"path": path, **json.loads(body)}


def test_a_failed_task_is_told_by_airflow(receiver: Receiver, failed) -> None:
    bag, _ = failed
    run = bag.dags["told"].test()
    assert run.state == "failed"
    message = signed(receiver)
    assert (message["path"], message["sop"], message["run_id"]) == ("/task", "told", run.run_id)
    assert (message["step"], "exit code 1" in message["message"]) == ("fail", True)


@pytest.mark.parametrize("known", [True, False], ids=["with its last task", "with nothing but its id"])
def test_a_failed_dag_is_told_by_the_dag_processor(receiver: Receiver, failed, known: bool) -> None:
    """Its own function is called with what the scheduler sends it."""
    bag, run = failed
    with create_session() as session:
        row = session.scalars(select(DagRun).where(DagRun.run_id == run.run_id)).one()
        sent = DagRunContext(dag_run=row, last_ti=row.get_task_instance("fail", session=session)) if known else None
        request = DagCallbackRequest(
            filepath="told.py", bundle_name="told", bundle_version=None, dag_id="told", run_id=run.run_id,
            msg="task_failure", context_from_server=sent,
        )  # fmt: skip
    _execute_dag_callbacks(bag, request, structlog.get_logger())
    message = signed(receiver)
    assert (message["path"], message["kind"], message["message"]) == ("/dag", "airflow", "task_failure")
    assert (message["sop"], message["run_id"]) == ("told", run.run_id)
