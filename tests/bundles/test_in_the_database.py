"""What Airflow stores of a document: the DAG, the YAML as its code, and import errors."""

from __future__ import annotations

import pytest
from airflow.dag_processing.dagbag import BundleDagBag, sync_bag_to_db
from airflow.models import DagModel
from airflow.models.dagbundle import DagBundleModel
from airflow.models.dagcode import DagCode
from airflow.models.errors import ParseImportError
from airflow.utils.session import create_session
from sqlalchemy import select

from airflow_sop_provider.bundles.sop_bundle import SopBundle
from tests.bundles.test_sop_bundle import text

pytestmark = pytest.mark.slow


@pytest.fixture
def bundle(airflow_database, tmp_path, monkeypatch):
    monkeypatch.setenv("AIRFLOW__DAG_PROCESSOR__DAG_BUNDLE_STORAGE_PATH", str(tmp_path / "storage"))
    (tmp_path / "sops").mkdir()
    with create_session() as session:
        session.merge(DagBundleModel(name="stored"))
    return SopBundle(name="stored", path=str(tmp_path / "sops"))


def sync(bundle):
    bundle.refresh()
    bag = BundleDagBag(dag_folder=bundle.path, bundle_path=bundle.path, bundle_name=bundle.name)
    sync_bag_to_db(bag, bundle.name, None)


def test_the_code_tab_shows_the_document(bundle):
    path = bundle.folder / "stored.yaml"
    path.write_text(text("stored"))
    sync(bundle)
    assert DagCode.code("stored") == path.read_text()
    path.write_text(text("stored", "Edited"))
    sync(bundle)
    assert DagCode.code("stored") == path.read_text()
    with create_session() as session:
        model = session.get(DagModel, "stored")
        assert model.fileloc == str(path)
        assert model.relative_fileloc == "stored.yaml.py"
        assert not model.is_paused


def test_the_import_error_page_shows_our_message(bundle):
    (bundle.folder / "wrong.yaml").write_text(text("wrong").replace("needs", "neds"))
    sync(bundle)
    with create_session() as session:
        shown = session.scalars(
            select(ParseImportError.stacktrace).where(ParseImportError.filename == "wrong.yaml.py")
        ).one()
    assert shown.startswith("SopImportError: ")
    assert "did you mean `needs`?" in shown
    assert "Traceback" not in shown
