"""Reading suites and tables: what is wrong is told with file and line."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from airflow_sop_provider.evals.initial import initial_suite
from airflow_sop_provider.evals.suite import load_suite
from airflow_sop_provider.sop import SopError, load_sop
from tests.cli.helpers import ROOT

Write = Callable[..., Path]


def problems(path: Path) -> list[tuple[str, str, int]]:
    with pytest.raises(SopError) as caught:
        load_suite(path)
    return [(problem.code, Path(problem.file).name, problem.line) for problem in caught.value.problems]


def test_cases_of_the_suite_and_of_its_table_come_together(suite_file: Write, tmp_path: Path) -> None:
    (tmp_path / "t.jsonl").write_text('\n{"id": "b", "expect": {"outputs": {"report.share": {"near": 1}}}}\n')
    suite = load_suite(suite_file(cases=[{"id": "a"}], cases_file="t.jsonl"))
    assert [case.id for case in suite.cases] == ["a", "b"]


def test_csv_gives_cells_the_types_of_the_inputs(suite_file: Write, tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text(
        "id,inputs.limit,inputs.name,outputs.report.share,outputs.report.verdict,decisions.judge,tools,status\n"
        'one,5,007,1.50,many,many,"shop.orders; shop.refund",COMPLETED\n'
        "two,,,,,,,FAILED\n"
    )
    one, two = load_suite(suite_file(cases_file="t.csv")).cases
    assert one.inputs == {"limit": 5, "name": "007"}
    assert one.expect.outputs["report.share"].one_of == [1.5, "1.50"]
    assert one.expect.outputs["report.verdict"].equals == "many"
    assert (one.expect.decisions, one.expect.tools) == ({"judge": "many"}, ["shop.orders", "shop.refund"])
    assert (two.inputs, two.expect.outputs, two.expect.tools, two.expect.status) == ({}, {}, None, "FAILED")


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ({"case": []}, [("unknown-key", "suite.yaml", 4)]),
        ({}, [("missing-key", "suite.yaml", 1)]),
        ({"cases": [{"id": "a"}, {"id": "a"}]}, [("duplicate-key", "suite.yaml", 1)]),
        ({"cases": [{"id": "a", "expect": {"decisions": {"juge": "x"}}}]}, [("unknown-step", "suite.yaml", 9)]),
        ({"cases": [{"id": "a", "expect": {"decisions": {"judge": "x"}}}]}, [("unknown-step", "suite.yaml", 9)]),
        ({"cases": [{"id": "a", "expect": {"outputs": {"a[": 1}}}]}, [("value-error", "suite.yaml", 9)]),
        ({"cases": [{"id": "a"}], "run_after": "soon"}, [("bad-value", "suite.yaml", 9)]),
        ({"cases": [{"id": "a"}], "recorded": [{"tool": "shp.x"}]}, [("unknown-source", "suite.yaml", 11)]),
        ({"cases_file": "gone.jsonl"}, [("unreadable", "gone.jsonl", 1)]),
        ({"cases": [{"id": "a"}], "thresholds": {"task_success": 2}}, [("bad-value", "suite.yaml", 10)]),
    ],
)
def test_problem_of_a_suite(suite_file: Write, keys: dict[str, Any], expected: list[tuple[str, str, int]]) -> None:
    assert problems(suite_file(**keys)) == expected


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("t.jsonl", '{"id": "a"}\n{"id": \n{"id": "c", "x": 1}\n', [("not-json", 2), ("unknown-key", 3)]),
        ("t.jsonl", '{"expect": {}}\n"text"\n', [("missing-key", 1), ("bad-value", 2)]),
        ("t.jsonl", '{"id": "a", "expect": {"decisions": {"x": "y"}}}\n', [("unknown-step", 1)]),
        ("t.csv", "id,input.x\na,1\n", [("unknown-key", 1)]),
        ("t.csv", "inputs.limit\n1\n", [("missing-key", 1)]),
        ("t.csv", "id,id\na,b\n", [("duplicate-key", 1)]),
        ("t.csv", "id,status\na\n", [("bad-row", 2)]),
        ("t.csv", "id,status\na,DONE\n", [("bad-value", 2)]),
        ("t.csv", 'id,status\na,"x\n', [("not-csv", 2)]),
        ("t.csv", "\xff", [("not-utf-8", 1)]),
    ],
)
def test_problem_of_a_table(
    suite_file: Write, tmp_path: Path, name: str, text: str, expected: list[tuple[str, int]]
) -> None:
    (tmp_path / name).write_bytes(text.encode("latin-1"))
    found = problems(suite_file(cases_file=name))
    assert [(code, line) for code, _, line in found] == expected
    assert {file for _, file, _ in found} == {name}


def test_an_invalid_sop_is_told_as_the_language_tells_it(suite_file: Write) -> None:
    assert problems(suite_file(sop="sop: x\n", cases=[{"id": "a"}]))[0][1] == "review.yaml"


@pytest.mark.parametrize("text", ["", "- a\n", "a: [\n"])
def test_what_is_no_suite(tmp_path: Path, text: str) -> None:
    path = tmp_path / "s.yaml"
    path.write_text(text)
    assert len(problems(path)) == 1


@pytest.mark.parametrize("sop", sorted((ROOT / "sops").glob("*.yaml")), ids=lambda path: path.stem)
def test_init_writes_a_valid_suite_for_every_sop(sop: Path, tmp_path: Path) -> None:
    path = tmp_path / "new.yaml"
    path.write_text(initial_suite(load_sop(sop), tmp_path))
    assert len(load_suite(path).cases) == 1
    uncommented = path.read_text().replace("# recorded:", "recorded:").replace("#   - {tool", "  - {tool")
    if "recorded:" in uncommented and "{tool" in uncommented:
        path.write_text(uncommented)
        assert load_suite(path).recorded


def test_recorded_file(suite_file: Write, tmp_path: Path) -> None:
    (tmp_path / "r.jsonl").write_text(json.dumps({"tool": "shop.orders", "result": 1}))
    assert load_suite(suite_file(cases=[{"id": "a"}], recorded_file="r.jsonl")).recorded[0].result == 1
