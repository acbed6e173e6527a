"""A cluster of the user's own is used instead of one of ours, and nothing is started beside it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tools.cluster.__main__ import main


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where a cluster of ours would be; there is none."""
    monkeypatch.setenv("SOP_CLUSTER_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("SOP_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("KUBECONFIG", raising=False)
    return tmp_path


def test_a_cluster_of_the_users_own_is_used_and_nothing_started(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("KUBECONFIG", "/of/mine")
    assert main(["up"]) == 0
    assert "Using the cluster of KUBECONFIG (/of/mine); nothing is started." in capsys.readouterr().out
    assert list(home.iterdir()) == []


@pytest.mark.parametrize("command", ["simulate", "enforce"])
def test_what_needs_a_cluster_of_ours_says_so(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    (home / "home" / "run").mkdir(parents=True)
    monkeypatch.setattr("tools.cluster.network_policies.stop", lambda daemons: None)  # the machine's packet filter
    assert main([command]) == 1
    assert "run `make cluster` first" in capsys.readouterr().err
