"""`sop validate`: exit codes, text, JSON, progress, interruption."""

from __future__ import annotations

import json
import os
import pty
import select
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner
from pydantic import BaseModel, ConfigDict

from airflow_sop_provider.cli.app import app
from airflow_sop_provider.sop import CheckResult
from tests.cli.helpers import GOOD, ROOT, Sop


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class ProblemShape(_Strict):
    code: str
    message: str
    file: str
    line: int
    column: int
    excerpt: str
    suggestion: str | None


class ResultShape(_Strict):
    file: str
    valid: bool
    sop: str | None
    version: str | None
    sha256: str | None
    mode: str | None
    problems: list[ProblemShape]


class DocumentShape(_Strict):
    """What docs/sop-language.md promises of `sop validate --json`."""

    files: int
    valid: int
    invalid: int
    errors: int
    results: list[ResultShape]


def test_valid_files_exit_0_with_a_summary(sop: Sop, good: Path) -> None:
    done = sop("validate", good)
    assert (done.returncode, done.stdout, done.stderr) == (0, "1 file checked, all valid.\n", "")


def test_errors_exit_1_and_show_place_excerpt_and_suggestion(sop: Sop, good: Path, bad: Path) -> None:
    done = sop("validate", good, bad)
    assert done.returncode == 1
    assert f"{bad}:8:5: error[unknown-key]" in done.stdout
    assert "    need: [first]" in done.stdout
    assert "did you mean `needs`?" in done.stdout
    assert "steps.third" in done.stdout
    assert done.stdout.splitlines()[-1].startswith("2 files checked: 1 valid, 1 with ")
    assert "\x1b" not in done.stdout


def test_quiet_prints_errors_only(sop: Sop, good: Path, bad: Path) -> None:
    assert (sop("validate", good, "--quiet").stdout, sop("validate", good, "-q").returncode) == ("", 0)
    done = sop("validate", bad, "--quiet")
    assert done.returncode == 1
    assert "error[unknown-key]" in done.stdout
    assert "checked" not in done.stdout


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "Missing argument 'PATH...'"),
        (("nowhere.yaml",), "'nowhere.yaml' does not exist"),
        ((".", "--jsn"), "Did you mean '--json'?"),
    ],
)
def test_wrong_usage_exits_2(sop: Sop, arguments: tuple[str, ...], said: str) -> None:
    done = sop("validate", *arguments)
    assert done.returncode == 2
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_json_is_one_document_of_the_promised_shape(sop: Sop, good: Path, bad: Path) -> None:
    done = sop("validate", good, bad, "--json")
    assert done.returncode == 1
    document = DocumentShape.model_validate_json(done.stdout)
    assert (document.files, document.valid, document.invalid) == (2, 1, 1)
    first, second = document.results
    assert (first.valid, first.sop, first.version, first.mode) == (True, "good", "1.0.0", "system_design")
    assert (second.valid, second.sop) == (False, None)
    assert document.errors == len(second.problems) >= 2
    assert (second.problems[0].line, second.problems[0].column) == (8, 5)


def test_folders_are_searched_and_ids_are_unique(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    for name in ("a/one.yaml", "a/two.yml", "b/three.yaml"):
        (tmp_path / name).write_text(GOOD.format(id="same"))
    (tmp_path / "a" / "notes.txt").write_text("no SOP")
    within = CliRunner().invoke(app, ["validate", str(tmp_path), "--json"])
    across = CliRunner().invoke(app, ["validate", str(tmp_path / "a" / "one.yaml"), str(tmp_path / "b"), "--json"])
    assert [r["valid"] for r in json.loads(within.stdout)["results"]] == [True, False, False]
    problems = json.loads(across.stdout)["results"][1]["problems"]
    assert [problem["code"] for problem in problems] == ["duplicate-id"]
    assert problems[0]["line"] == 1
    assert "a/one.yaml" in problems[0]["message"]


def test_a_file_that_several_paths_lead_to_counts_once(tmp_path: Path, good: Path) -> None:
    done = CliRunner().invoke(app, ["validate", str(good), str(tmp_path), str(good)])
    assert done.stdout == "1 file checked, all valid.\n"


def test_a_folder_without_sops_says_so(tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["validate", str(tmp_path)])
    assert done.stdout == "No SOP files (*.yaml, *.yml) found.\n"


def test_a_reader_that_went_away_ends_it_quietly(tmp_path: Path) -> None:
    for number in range(200):
        (tmp_path / f"{number}.yaml").write_text("sop: [" * 50)
    command = f"from airflow_sop_provider.cli import main; main(['validate', {str(tmp_path)!r}])"
    read, write = os.pipe()
    os.close(read)
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", command], stdout=write, stderr=subprocess.PIPE, text=True, env=environment, check=False
    )
    os.close(write)
    assert (done.returncode, done.stderr) == (141, "")


class Terminal:
    """`sop` on a pseudo-terminal."""

    def __init__(self, *arguments: str, **environment: str) -> None:
        self.master, slave = pty.openpty()
        self.process = subprocess.Popen(
            [sys.executable, "-c", "from airflow_sop_provider.cli import main; main()", *arguments],
            stdin=slave, stdout=slave, stderr=slave, start_new_session=True,
            env={**os.environ, "PYTHONPATH": str(ROOT), "TERM": "xterm-256color", "COLUMNS": "100", **environment},
        )  # fmt: skip
        os.close(slave)
        self.output = b""

    def read(self, until: bytes | None = None) -> str:
        """Read to the end, or until the text is there."""
        while until is None or until not in self.output:
            if not select.select([self.master], [], [], 120)[0]:
                raise AssertionError(f"nothing more came after {self.output[-500:]!r}")
            try:
                self.output += os.read(self.master, 65536)
            except OSError:  # the other end is closed
                break
        return self.output.decode()

    def end(self) -> int:
        code = self.process.wait()
        os.close(self.master)
        return code


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("many")
    for number in range(2000):
        (folder / f"{number:04}.yaml").write_text(GOOD.format(id=f"sop-{number}"))
    return folder


def test_progress_is_shown_on_a_terminal_for_thousands_of_files(many: Path) -> None:
    terminal = Terminal("validate", str(many))
    text = terminal.read()
    assert terminal.end() == 0
    assert "Validating" in text
    assert "100%" in text or "99%" in text
    assert text.rstrip().endswith("2,000 files checked, all valid.")


def test_errors_on_a_terminal_are_coloured_and_stand_above_the_bar(tmp_path: Path, bad: Path) -> None:
    for number in range(60):
        (tmp_path / f"{number:02}.yaml").write_text(GOOD.format(id=f"sop-{number}"))
    terminal = Terminal("validate", str(tmp_path))
    text = terminal.read()
    assert terminal.end() == 1
    assert "\x1b[31merror[unknown-key]" in text
    assert "61 files checked: 60 valid, 1 with" in text


def test_no_color_is_respected(bad: Path) -> None:
    terminal = Terminal("validate", str(bad), NO_COLOR="1")
    text = terminal.read()
    assert terminal.end() == 1
    assert "\x1b[" not in text


def test_ctrl_c_exits_130_with_one_word(many: Path) -> None:
    terminal = Terminal("validate", str(many))
    terminal.read(until=b"Validating")
    terminal.process.send_signal(signal.SIGINT)
    text = terminal.read()
    assert terminal.end() == 130
    assert "Interrupted." in text
    assert "Traceback" not in text


def test_results_come_while_files_are_still_being_checked(monkeypatch: pytest.MonkeyPatch, bad: Path) -> None:
    from airflow_sop_provider.cli import validate

    shown: list[str] = []
    monkeypatch.setattr(validate.click, "echo", shown.append)

    def results(_: object) -> object:
        yield CheckResult(str(bad), None, validate.check_file(bad).problems)
        assert shown, "the first file's errors were held back"
        yield CheckResult("other", None, ())

    monkeypatch.setattr(validate, "_results", results)
    assert validate.validate_paths((bad,), as_json=False, quiet=True) == 1


def test_help_is_fast_because_it_imports_nothing_heavy() -> None:
    code = (
        "import sys; from airflow_sop_provider.cli import main\n"
        "try: main(['--help'])\n"
        "except SystemExit: pass\n"
        "print(sorted({'pydantic', 'rich', 'yaml', 'jinja2', 'graphviz', 'airflow'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(ROOT)},
        check=True,
    )  # fmt: skip
    assert done.stdout.splitlines()[-1] == "[]"
