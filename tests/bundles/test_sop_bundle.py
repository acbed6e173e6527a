"""The bundle: one stub per document, changed exactly when its document does."""

from __future__ import annotations

import os
import threading

import pytest
from airflow.dag_processing.dagbag import BundleDagBag
from airflow.utils.file import might_contain_dag

from airflow_sop_provider.bundles.sop_bundle import SopBundle
from airflow_sop_provider.sop.source import MAX_BYTES

SOP = """\
sop: {name}
version: 1.0.0
title: {title}
steps:
  - {{id: a, compute: {{v: "1"}}}}
  - {{id: b, needs: [a], compute: {{v: "2"}}}}
"""


def text(name: str, title: str = "A review") -> str:
    return SOP.format(name=name, title=title)


class Place:
    """A folder of documents and a bundle on it."""

    def __init__(self, folder, name):
        self.folder = folder
        self.name = name
        self.restart()
        self.bundle.initialize()

    def restart(self):
        self.bundle = SopBundle(name=self.name, path=str(self.folder))

    def put(self, name, content):
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
        return path

    def stubs(self):
        return {
            path.relative_to(self.bundle.path).as_posix(): (path.read_text(), path.stat().st_mtime_ns)
            for path in self.bundle.path.rglob("*")
            if path.is_file()
        }

    def bag(self):
        path = self.bundle.path
        return BundleDagBag(dag_folder=path, bundle_path=path, bundle_name=self.name)


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.setenv("AIRFLOW__DAG_PROCESSOR__DAG_BUNDLE_STORAGE_PATH", str(tmp_path / "storage"))
    folder = tmp_path / "sops"
    folder.mkdir()
    (folder / "one.yaml").write_text(text("one"))
    (folder / "two.yml").write_text(text("two"))
    return Place(folder, "sops")


def test_there_is_one_stub_per_document_that_airflow_takes_for_a_dag_file(place):
    place.put("deep/er/three.yaml", text("three"))
    place.put("notes.txt", "no SOP")
    place.bundle.refresh()
    assert set(place.stubs()) == {"one.yaml.py", "two.yml.py", "deep/er/three.yaml.py"}
    assert all(might_contain_dag(str(place.bundle.path / name), safe_mode=True) for name in place.stubs())
    bag = place.bag()
    assert bag.import_errors == {}
    assert set(bag.dags) == {"one", "two", "three"}
    assert bag.dags["three"].fileloc == str(place.folder / "deep/er/three.yaml")
    assert bag.dags["three"].relative_fileloc == "deep/er/three.yaml.py"


def test_nothing_is_written_when_nothing_changed(place):
    before = place.stubs()
    place.bundle.refresh()
    place.restart()
    place.bundle.initialize()
    assert place.stubs() == before


def test_an_edit_changes_its_own_stub_only(place):
    before = place.stubs()
    place.put("one.yaml", text("one", "Another"))
    place.bundle.refresh()
    after = place.stubs()
    assert after["one.yaml.py"] != before["one.yaml.py"]
    assert after["two.yml.py"] == before["two.yml.py"]
    assert place.bag().dags["one"].dag_display_name == "Another"


def test_an_edit_of_the_same_length_at_the_same_time_is_seen(place):
    path = place.folder / "one.yaml"
    stat = path.stat()
    path.write_text(text("one", "A reviem"))
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    before = place.stubs()["one.yaml.py"]
    place.bundle.refresh()
    assert place.stubs()["one.yaml.py"] != before


def test_documents_come_and_go_with_their_stubs(place):
    place.put("deep/er/three.yaml", text("three"))
    place.bundle.refresh()
    (place.folder / "deep/er/three.yaml").unlink()
    (place.folder / "one.yaml").unlink()
    place.bundle.refresh()
    assert set(place.stubs()) == {"two.yml.py"}
    assert not (place.bundle.path / "deep").exists()


def test_a_renamed_document_keeps_its_dag(place):
    (place.folder / "one.yaml").rename(place.folder / "uno.yaml")
    place.bundle.refresh()
    bag = place.bag()
    assert bag.import_errors == {}
    assert bag.dags["one"].fileloc.endswith("uno.yaml")


def test_a_broken_document_affects_no_other(place):
    path = place.put("broken.yaml", "sop: broken\nstps: []\n")
    place.bundle.refresh()
    bag = place.bag()
    assert set(bag.dags) == {"one", "two"}
    assert set(bag.import_errors) == {"broken.yaml.py"}
    message = bag.import_errors["broken.yaml.py"]
    assert message.startswith(f"SopImportError: {path}:")
    assert "Traceback" not in message
    place.put("broken.yaml", text("broken"))
    place.bundle.refresh()
    assert place.bag().import_errors == {}


def test_of_two_new_documents_with_one_id_the_first_gets_it(place):
    place.put("b.yaml", text("same"))
    place.put("a.yaml", text("same"))
    place.bundle.refresh()
    bag = place.bag()
    assert bag.dags["same"].fileloc.endswith("a.yaml")
    assert f"the id `same` is already taken by {place.folder / 'a.yaml'}" in bag.import_errors["b.yaml.py"]


@pytest.mark.parametrize("restart", [False, True])
def test_a_copy_cannot_take_the_place_of_an_sop_in_use(place, restart):
    place.put("a-copy.yaml", text("one", "A copy"))
    if restart:
        place.restart()
    place.bundle.refresh()
    bag = place.bag()
    assert bag.dags["one"].fileloc.endswith("one.yaml")
    assert set(bag.import_errors) == {"a-copy.yaml.py"}
    (place.folder / "one.yaml").unlink()
    place.bundle.refresh()
    assert place.bag().dags["one"].dag_display_name == "A copy"


def test_an_id_in_an_unusual_place_counts_too(place):
    place.put("a.yaml", '{"version": "1", "title": "t", "steps": [{"id": "a", "compute": {"v": "1"}}], "sop": "one"}')
    place.bundle.refresh()
    assert set(place.bag().import_errors) == {"a.yaml.py"}


def test_a_link_that_leaves_the_folder_is_refused_unread(place, tmp_path):
    (tmp_path / "secret.yaml").write_text(text("secret"))
    (place.folder / "link.yaml").symlink_to(tmp_path / "secret.yaml")
    (place.folder / "inside.yaml").symlink_to(place.folder / "nowhere.yaml")
    place.bundle.refresh()
    bag = place.bag()
    assert set(bag.dags) == {"one", "two"}
    assert "leaves the folder" in bag.import_errors["link.yaml.py"]
    assert "cannot be read" in bag.import_errors["inside.yaml.py"]


def test_what_is_too_large_or_no_file_is_an_import_error_of_its_own(place):
    place.put("large.yaml", "a: b\n" * (MAX_BYTES // 5 + 1))
    os.mkfifo(place.folder / "pipe.yaml")
    place.bundle.refresh()
    bag = place.bag()
    assert set(bag.dags) == {"one", "two"}
    assert "larger than" in bag.import_errors["large.yaml.py"]
    assert "not a regular file" in bag.import_errors["pipe.yaml.py"]


def test_a_name_cannot_become_code(place):
    place.put("x\nraise SystemExit('''\\\"\n.yaml", text("odd"))
    place.bundle.refresh()
    bag = place.bag()
    assert bag.import_errors == {}
    assert "odd" in bag.dags


def test_a_folder_that_does_not_exist_yet_is_an_empty_one(tmp_path, monkeypatch, caplog):
    monkeypatch.setenv("AIRFLOW__DAG_PROCESSOR__DAG_BUNDLE_STORAGE_PATH", str(tmp_path / "storage"))
    bundle = SopBundle(name="later", path=str(tmp_path / "later"))
    bundle.initialize()
    assert list(bundle.path.iterdir()) == []
    assert "later" in caplog.text
    (tmp_path / "later").mkdir()
    (tmp_path / "later" / "one.yaml").write_text(text("one"))
    bundle.refresh()
    assert [path.name for path in bundle.path.iterdir()] == ["one.yaml.py"]


def test_several_processes_may_refresh_at_once(place):
    bundles = [SopBundle(name=place.name, path=str(place.folder)) for _ in range(4)]
    for number in range(20):
        place.put(f"n{number}.yaml", text(f"n{number}"))
    threads = [threading.Thread(target=bundle.refresh) for bundle in bundles]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(place.stubs()) == 22


def test_options_come_from_the_configuration(configure, tmp_path):
    configure(sop__sops_folder=str(tmp_path), sop__refresh_seconds="9")
    bundle = SopBundle(name="configured")
    assert (bundle.folder, bundle.refresh_interval) == (tmp_path, 9)
    assert bundle.get_current_version() is None


def test_the_parent_has_imported_what_stubs_need(place):
    """Forks of the dag-processor would pay for it per file otherwise."""
    import sys

    assert "dag_factory" in sys.modules
    assert "kubernetes.client" in sys.modules
