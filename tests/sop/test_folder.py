"""Folders of SOPs: one bad file affects no other, nothing outside is read, memory stays small."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import pytest

from airflow_sop_provider.sop import check_folder
from tests.sop.helpers import BASE


def _write(path: Path, sop_id: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(BASE.replace("sop: base", f"sop: {sop_id}"))


def test_files_are_checked_in_order_and_alone(tmp_path: Path):
    _write(tmp_path / "b.yaml", "b")
    _write(tmp_path / "sub" / "a.yml", "a")
    (tmp_path / "c.yaml").write_text("sop: [")
    (tmp_path / "notes.txt").write_text("no SOP")
    (tmp_path / ".hidden.yaml").write_text("sop: [")
    found = [(Path(result.file).name, result.ok) for result in check_folder(tmp_path)]
    assert found == [("b.yaml", True), ("c.yaml", False), ("a.yml", True)]


def test_two_sops_with_one_id(tmp_path: Path):
    _write(tmp_path / "a.yaml", "same")
    (tmp_path / "b.yaml").write_text("# comment\n" + BASE.replace("sop: base", "sop: same"))
    first, second = check_folder(tmp_path)
    assert first.ok
    assert [(problem.code, problem.line, problem.column) for problem in second.problems] == [("duplicate-id", 2, 6)]
    assert "a.yaml" in second.problems[0].message


def test_links_that_leave_the_folder_are_not_read(tmp_path: Path):
    _write(tmp_path / "outside" / "secret.yaml", "secret")
    inside = tmp_path / "sops"
    _write(inside / "real" / "a.yaml", "a")
    (inside / "link.yaml").symlink_to(tmp_path / "outside" / "secret.yaml")
    (inside / "folder").symlink_to(tmp_path / "outside")
    (inside / "up.yaml").symlink_to("../outside/secret.yaml")
    (inside / "broken.yaml").symlink_to("nowhere.yaml")
    (inside / "dir.yaml").symlink_to(tmp_path / "outside")
    (inside / "loop.yaml").symlink_to("loop.yaml")
    codes = {Path(result.file).name: [problem.code for problem in result.problems] for result in check_folder(inside)}
    assert codes == {
        "link.yaml": ["outside-folder"],
        "up.yaml": ["outside-folder"],
        "broken.yaml": ["unreadable"],
        "loop.yaml": ["unreadable"],
        "a.yaml": [],
    }


def test_links_inside_the_folder_work_as_in_a_mounted_config_map(tmp_path: Path):
    _write(tmp_path / "..2024_01" / "a.yaml", "a")
    (tmp_path / "..data").symlink_to("..2024_01")
    (tmp_path / "a.yaml").symlink_to("..data/a.yaml")
    assert [result.ok for result in check_folder(tmp_path)] == [True]


def test_a_folder_that_is_a_link(tmp_path: Path):
    _write(tmp_path / "real" / "a.yaml", "a")
    (tmp_path / "link").symlink_to("real")
    assert [result.ok for result in check_folder(tmp_path / "link")] == [True]


def test_a_missing_folder(tmp_path: Path):
    with pytest.raises(OSError, match="nowhere"):
        list(check_folder(tmp_path / "nowhere"))


def test_memory_does_not_grow_with_the_number_of_files(tmp_path: Path):
    for number in range(80):
        _write(tmp_path / f"s{number}.yaml", f"s{number}")
    results = check_folder(tmp_path)
    for _ in range(30):
        next(results)
    tracemalloc.start()
    start = tracemalloc.get_traced_memory()[0]
    assert all(result.ok for result in results)
    grown = tracemalloc.get_traced_memory()[0] - start
    tracemalloc.stop()
    assert grown < 256 * 1024
