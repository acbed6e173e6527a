"""Loading files: one DAG, a folder for an ordinary DAG file, and what a broken document looks like in the UI."""

from __future__ import annotations

import pytest
from airflow.dag_processing.dagbag import DagBag

from dag_factory import SopImportError, dag_of_file, load_sops
from tests.dag_factory.documents import HEAD, VENDOR

GOOD = HEAD + "steps: [{id: a, compute: {v: '1'}}, {id: b, needs: [a], compute: {v: '2'}}]\n"
BAD = HEAD.replace("review", "broken") + "stps: []\nsteps: [{id: a, compute: {v: '1'}, neds: []}]\n"


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "sops"
    folder.mkdir()
    (folder / "review.yaml").write_text(GOOD)
    (folder / "vendor.yaml").write_text(VENDOR)
    return folder


def bag_of(tmp_path, text):
    dags = tmp_path / "dags"
    dags.mkdir(exist_ok=True)
    (dags / "file.py").write_text(text)
    return DagBag(dag_folder=dags, bundle_path=dags, bundle_name="test")


def test_an_unchanged_document_is_not_built_again(folder):
    first = dag_of_file(folder / "review.yaml")
    assert dag_of_file(folder / "review.yaml") is first
    (folder / "review.yaml").write_text(GOOD.replace("A review", "Another"))
    changed = dag_of_file(folder / "review.yaml")
    assert changed is not first
    assert changed.dag_display_name == "Another"


def test_the_document_is_what_the_code_tab_shows_if_asked_for(tmp_path, folder):
    path = folder / "review.yaml"
    text = "from dag_factory import dag_of_file  # airflow dag\ndag = dag_of_file({!r}{})\n"
    assert bag_of(tmp_path, text.format(str(path), ", show_document=True")).dags["review"].fileloc == str(path)
    assert bag_of(tmp_path, text.format(str(path), "")).dags["review"].fileloc.endswith("dags/file.py")


def test_an_import_error_is_our_message_and_nothing_else(tmp_path, folder):
    path = folder / "broken.yaml"
    path.write_text(BAD)
    bag = bag_of(tmp_path, f"from dag_factory import dag_of_file  # airflow dag\ndag = dag_of_file({str(path)!r})\n")
    (message,) = bag.import_errors.values()
    assert bag.dags == {}
    assert message.startswith(f"SopImportError: {path}:4:1: error[unknown-key]: unknown key `stps`\n")
    assert "did you mean `needs`?" in message
    assert message.endswith("2 problems found")
    assert "Traceback" not in message


def test_a_missing_file_is_an_import_error_that_names_it(tmp_path):
    bag = bag_of(tmp_path, "from dag_factory import dag_of_file  # airflow dag\ndag = dag_of_file('/no/such.yaml')\n")
    (message,) = bag.import_errors.values()
    assert "/no/such.yaml" in message
    assert "Traceback" not in message


def test_an_ordinary_dag_file_loads_a_folder(tmp_path, folder):
    bag = bag_of(tmp_path, "from dag_factory import load_sops  # airflow dag\nload_sops('../sops', globals())\n")
    assert bag.import_errors == {}
    assert set(bag.dags) == {"review", "vendor-bank-change"}


def test_one_broken_document_of_a_folder_does_not_keep_the_others(tmp_path, folder):
    (folder / "broken.yaml").write_text(BAD)
    (folder / "twin.yaml").write_text(GOOD)
    bag = bag_of(tmp_path, f"from dag_factory import load_sops  # airflow dag\nload_sops({str(folder)!r}, globals())\n")
    (message,) = bag.import_errors.values()
    assert set(bag.dags) == {"review", "vendor-bank-change"}
    assert "unknown key `stps`" in message
    assert "already taken" in message


def test_a_folder_that_does_not_exist_is_named():
    with pytest.raises(SopImportError, match="/no/such/folder"):
        load_sops("/no/such/folder", {})
