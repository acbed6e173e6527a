"""The one line of a log that says why a component ended."""

import pytest

from tools.dev.logs import telling_line

TRACE = """starting
Traceback (most recent call last):
  File "/x/y.py", line 3, in <module>
    import nothing
ModuleNotFoundError: No module named 'nothing'
"""


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (TRACE, "ModuleNotFoundError: No module named 'nothing'"),
        (TRACE + "shutting down\n", "ModuleNotFoundError: No module named 'nothing'"),
        (
            "[info] a\n[error] Errno 98: address already in use\n[info] bye\n",
            "[error] Errno 98: address already in use",
        ),
        ("\x1b[31mcritical\x1b[0m: disk full\n\n", "critical: disk full"),
        ("one\ntwo\n", "two"),
        ("", "it wrote nothing"),
    ],
)
def test_it_is_the_last_error_else_the_last_line(tmp_path, text, expected):
    log = tmp_path / "component.log"
    log.write_text(text)
    assert telling_line(log) == expected


def test_a_missing_log_is_no_error(tmp_path):
    assert telling_line(tmp_path / "none.log") == "it wrote nothing"


def test_a_long_line_is_cut_and_a_long_log_is_read_from_its_end(tmp_path):
    log = tmp_path / "component.log"
    log.write_text("error: early\n" + "x\n" * 100_000 + "error: " + "y" * 1000 + "\n")
    line = telling_line(log)
    assert line.startswith("error: yyy")
    assert len(line) == 300
