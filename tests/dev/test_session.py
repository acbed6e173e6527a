"""How `make run` ends: after the result with ``--once``, otherwise when somebody stops it."""

import argparse
from pathlib import Path

import pytest

from tools.dev import session
from tools.dev.instance import Instance
from tools.dev.signals import Stopped


class Up:
    """An Airflow that is up at once; `test_make_run` has a real one."""

    def __init__(self, instance: Instance, port: int | None, say: object) -> None:
        self.instance = instance

    def __enter__(self) -> "Up":
        self.instance.prepare()
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def wait_until_ready(self, names: object = None) -> None:
        pass

    def start(self, name: str) -> None:
        pass

    def check(self) -> None:
        raise Stopped


@pytest.mark.parametrize(
    ("once", "succeeded", "code"), [(True, True, 0), (True, False, 1), (False, True, 0), (False, False, 0)]
)
def test_the_exit_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys, once, succeeded, code) -> None:
    monkeypatch.setattr(session, "LocalAirflow", Up)
    monkeypatch.setattr(session.Session, "_carry_out", lambda self, airflow: succeeded)
    options = argparse.Namespace(home=tmp_path / "home", sops=tmp_path, port=None, once=once)
    assert session.run_session(options) == code
    said = capsys.readouterr().out
    assert ("Airflow stays up" in said) is not once
    assert said.endswith("Stopped.\n")


def test_a_signal_before_the_result_of_once_is_no_success(tmp_path, monkeypatch):
    def stopped(self: object, airflow: object) -> bool:
        raise Stopped

    monkeypatch.setattr(session, "LocalAirflow", Up)
    monkeypatch.setattr(session.Session, "_carry_out", stopped)
    options = argparse.Namespace(home=tmp_path / "home", sops=tmp_path, port=None, once=True)
    assert session.run_session(options) == 130
