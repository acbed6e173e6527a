"""Whether `make test` takes in the tests on a cluster."""

from __future__ import annotations

import os
import shutil

import pytest

from tools.dev.cluster_of_tests import WANTED, is_wanted


@pytest.mark.parametrize(
    ("said", "kubeconfig", "root", "go", "expected"),
    [
        ("yes", None, False, False, True),
        ("no", "/some/config", True, True, False),
        (None, "/some/config", False, False, True),
        (None, None, True, True, True),
        (None, None, False, True, False),
        (None, None, True, False, False),
    ],
)
def test_they_run_where_they_can_unless_said(
    monkeypatch: pytest.MonkeyPatch, said: str | None, kubeconfig: str | None, root: bool, go: bool, expected: bool
) -> None:
    for name, value in ((WANTED, said), ("KUBECONFIG", kubeconfig)):
        monkeypatch.delenv(name, raising=False)
        if value is not None:
            monkeypatch.setenv(name, value)
    monkeypatch.setattr(os, "geteuid", lambda: 0 if root else 1000)
    monkeypatch.setattr(shutil, "which", lambda name: f"/usr/bin/{name}" if go else None)
    assert is_wanted() is expected
