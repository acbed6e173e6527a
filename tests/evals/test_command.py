"""`sop eval` as a person uses it."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from tests.cli.helpers import ROOT

pytestmark = pytest.mark.slow

Write = Callable[..., Path]
RECORDED = [{"tool": "shop.orders", "result": {"count": 1, "ids": []}}]
HOSTILE = "<script>alert(1)</script>\"'&\x1b[31m</td></table>"


def sop(folder: Path, *arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    program = [sys.executable, "-c", "from airflow_sop_provider.cli import main; main()"]
    return subprocess.run(
        [*program, *map(str, arguments)], capture_output=True, text=True, cwd=folder, check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
    )  # fmt: skip


def test_the_shipped_suite_holds(tmp_path: Path) -> None:
    done = sop(tmp_path, "eval", ROOT / "evals" / "licence-policy.yaml", "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    document = json.loads(done.stdout)
    assert document["summary"]["task_success"] == document["summary"]["tool_accuracy"] == 1.0
    assert {case["status"] for case in document["cases"]} == {"COMPLETED", "FAILED"}


def test_the_shipped_suite_notices_a_changed_policy(tmp_path: Path) -> None:
    for name in ("licence-policy.yaml", "licence-policy.jsonl"):
        (tmp_path / "evals").mkdir(exist_ok=True)
        (tmp_path / "evals" / name).write_text((ROOT / "evals" / name).read_text())
    (tmp_path / "sops").mkdir()
    policy = (ROOT / "sops" / "software-licence-review.yaml").read_text()
    (tmp_path / "sops" / "software-licence-review.yaml").write_text(policy.replace("      - SSPL-1.0\n", ""))
    done = sop(tmp_path, "eval", "evals/licence-policy.yaml", "--quiet")
    assert done.returncode == 1
    assert re.findall(r"^FAIL +(\S+)", done.stdout, re.MULTILINE) == ["forbidden-beats-review"]
    assert 'report.verdict: expected "rejected"; it is "needs-review"' in done.stdout


def test_thresholds_decide_the_exit_code(suite_file: Write, tmp_path: Path) -> None:
    cases = [{"id": "good"}, {"id": "bad", "expect": {"decisions": {"judge": "many"}}}]
    half = {"task_success": 0.5}
    assert sop(tmp_path, "eval", suite_file(cases=cases, recorded=RECORDED, thresholds=half)).returncode == 0
    done = sop(tmp_path, "eval", suite_file(cases=cases, recorded=RECORDED))
    assert done.returncode == 1
    assert "task success          50 % (at least 100 %, not reached)" in done.stdout


def test_a_suite_with_errors_shows_them_like_an_sop(suite_file: Write, tmp_path: Path) -> None:
    done = sop(tmp_path, "eval", suite_file(cases=[{"id": "a", "expects": {}}]))
    assert done.returncode == 1
    assert "suite.yaml:7:4: error[unknown-key]" in done.stderr
    assert "did you mean `expect`?" in done.stderr


class Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


def test_the_page_shows_hostile_values_as_text_and_loads_nothing(suite_file: Write, tmp_path: Path) -> None:
    cases = [{"id": "bad", "expect": {"outputs": {"orders.note": {"equals": HOSTILE}, "orders.x": HOSTILE}}}]
    recorded = [{"tool": "shop.orders", "result": {"count": 1, "ids": [], "note": HOSTILE + "2"}}]
    done = sop(tmp_path, "eval", suite_file(cases=cases, recorded=recorded), "--html", "page.html")
    assert done.returncode == 1
    assert "\x1b" not in done.stdout
    page = Tags()
    page.feed((tmp_path / "page.html").read_text())
    assert "<script>alert(1)</script>" in page.text
    assert {tag for tag, _ in page.tags} & {"script", "img", "link", "iframe", "a", "form"} == set()
    assert [attributes for _, attributes in page.tags if {"src", "href", "onclick"} & attributes.keys()] == []
    policy = next(attributes for tag, attributes in page.tags if tag == "meta" and "http-equiv" in attributes)
    assert str(policy["content"]).startswith("default-src 'none'")


def test_init_overwrites_nothing(suite_file: Write, tmp_path: Path) -> None:
    suite_file()
    assert sop(tmp_path, "eval", "new.yaml", "--init", "review.yaml").returncode == 0
    before = (tmp_path / "new.yaml").read_text()
    done = sop(tmp_path, "eval", "new.yaml", "--init", "review.yaml")
    assert (done.returncode, (tmp_path / "new.yaml").read_text()) == (1, before)
    assert "exists and is left as it is" in done.stderr


def test_ctrl_c_loses_nothing(suite_file: Write, tmp_path: Path) -> None:
    gate, trace = tmp_path / "gate", tmp_path / "trace"
    text = (
        "sop: s\nversion: 1.0.0\ntitle: S\nmode: system_design\ninputs: {n: {type: integer}}\nsteps:\n"
        "  - id: a\n    command:\n      command: [sh, -ec]\n"
        f"      args: ['echo $N >> {trace}; test $N -lt 2 || while ! test -e {gate}; do sleep 0.05; done']\n"
        '      env: {N: "{{ inputs.n }}"}\n'
    )
    path = suite_file(sop=text, cases=[{"id": f"c{n}", "inputs": {"n": n}} for n in range(4)])
    program = [sys.executable, "-c", "from airflow_sop_provider.cli import main; main()", "eval", str(path)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(program, cwd=tmp_path, env=environment, stderr=subprocess.PIPE, start_new_session=True)
    while not trace.exists() or "2" not in trace.read_text():
        assert process.poll() is None
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGINT)
    assert process.wait() == 130
    gate.touch()
    done = sop(tmp_path, "eval", path)
    assert done.returncode == 0, done.stdout
    assert "2 cases done before the interruption; going on." in done.stderr
    assert trace.read_text().split() == ["0", "1", "2", "2", "3"]


def test_airflow_needs_a_login_from_the_environment(suite_file: Write, tmp_path: Path) -> None:
    done = sop(tmp_path, "eval", suite_file(cases=[{"id": "a"}]), "--airflow", "http://127.0.0.1:9")
    assert done.returncode == 2
    assert "SOP_AIRFLOW_USER" in done.stderr


def test_an_agent_whose_model_has_no_key_says_what_to_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("GOOGLE_API_KEY", "GEMINI_API_KEY"):
        monkeypatch.delenv(name, raising=False)

    brief = ROOT / "sops" / "package-brief.yaml"
    sop(tmp_path, "eval", "s.yaml", "--init", brief)
    done = sop(tmp_path, "eval", "s.yaml")
    assert done.returncode == 1
    assert "model-key-missing" in done.stdout
    assert "models.yaml" in done.stdout


@pytest.mark.parametrize("arguments", [("--json",), ()])
def test_output_is_without_colour_and_progress_where_nobody_looks(
    suite_file: Write, tmp_path: Path, arguments: tuple[Any, ...]
) -> None:
    done = sop(tmp_path, "eval", suite_file(cases=[{"id": "a"}], recorded=RECORDED), *arguments)
    assert "\x1b" not in done.stdout + done.stderr
