"""Gives the cluster's node the images that pods of development and tests use."""

from __future__ import annotations

import tempfile
from pathlib import Path

from tools.cluster.image_archive import write_archive, write_layer
from tools.cluster.layout import Layout
from tools.cluster.node import PAUSE_IMAGE, ctr
from tools.cluster.problems import call
from tools.cluster.runner_image import agents_tag, build_runner_image, runner_tag

__all__ = ["import_pause", "import_runner"]


def import_pause(layout: Layout, programs: Path) -> None:
    """Import the image of the process that holds a pod's namespaces."""
    if PAUSE_IMAGE in call(ctr(layout, "images", "list", "-q")).split():
        return
    with tempfile.TemporaryDirectory(dir=layout.home) as folder:
        root, layer, archive = (Path(folder, name) for name in ("root", "layer.tar", "pause.tar"))
        root.mkdir()
        (root / "pause").write_bytes((programs / "pause").read_bytes())
        (root / "pause").chmod(0o755)
        write_layer(layer, root, prefix="")
        write_archive(archive, [layer], {"Entrypoint": ["/pause"], "User": "65535:65535"}, [PAUSE_IMAGE])
        call(ctr(layout, "images", "import", str(archive)))


def import_runner(layout: Layout, *, agents: bool = False) -> str:
    """Build the runner's image and import it; return its name with tag.

    :param agents: the image whose steps may be agents.
    """
    archive = build_runner_image(layout.cache / "images", agents=agents)
    call(ctr(layout, "images", "import", str(archive)))
    return agents_tag() if agents else runner_tag()
