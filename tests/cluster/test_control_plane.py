"""What the control plane is started with."""

from __future__ import annotations

from pathlib import Path

import yaml

from tools.cluster import control_plane
from tools.cluster.layout import Layout


def test_the_scheduler_has_the_charts_profile_beside_the_usual_one(tmp_path: Path) -> None:
    layout = Layout(home=tmp_path / "home", cache=tmp_path / "cache")
    layout.make()
    command = control_plane._scheduler(layout, Path("/programs"))
    (option,) = [one for one in command if one.startswith("--config=")]
    config = yaml.safe_load(Path(option.partition("=")[2]).read_text())
    assert [one["schedulerName"] for one in config["profiles"]] == ["default-scheduler", "sop-bin-packing"]
    assert config["clientConnection"]["kubeconfig"] == str(layout.config("kube-scheduler.kubeconfig"))
    assert config["leaderElection"] == {"leaderElect": False}
    assert not any(one.startswith("--kubeconfig") for one in command), "which a configuration would silently overrule"
