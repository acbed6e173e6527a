"""The time that `make image` prints is that of the image's own Python and libraries."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tools.cluster.image_start import first_action_seconds
from tools.cluster.layout import Layout
from tools.cluster.problems import ClusterProblem
from tools.cluster.runner_image import image_layers, runner_config

pytestmark = [
    pytest.mark.kubernetes,
    pytest.mark.timeout(600),
    pytest.mark.skipif(os.geteuid() != 0, reason="only root may start a process in another root"),
]


def test_the_image_starts_and_a_broken_one_is_told(tmp_path: Path) -> None:
    layers = image_layers(Layout.default().cache / "images")
    assert 0 < first_action_seconds(layers, runner_config(), tmp_path) < 60
    with pytest.raises(ClusterProblem):
        first_action_seconds(layers[:1], runner_config(), tmp_path)
    assert list(tmp_path.iterdir()) == [], "nothing is left mounted or unpacked"
