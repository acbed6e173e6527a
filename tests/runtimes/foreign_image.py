"""An image that is not the runner's: a shell and the libraries it needs, of this host; no Python, no other program."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

from tools.cluster.image_archive import write_archive, write_layer

__all__ = ["FOREIGN", "write_foreign_image"]

FOREIGN = "localhost/sop-foreign:test"

_CONFIG = {
    "Entrypoint": ["/bin/sh", "-c", 'echo "\\"the entry point with $*\\"" > "$SOP_OUTPUTS"', "sh"],
    "Cmd": ["its", "own"],
    # a Python of its own would be told by these; ours must not listen
    "Env": ["PATH=/bin", "TOOL=own", "PYTHONHOME=/nonexistent", "PYTHONPATH=/nonexistent"],
    "User": "0:0",
    "WorkingDir": "/bin",
}


def write_foreign_image(folder: Path) -> Path:
    """Write the image `FOREIGN` into ``folder`` and return the archive."""
    root, layer, archive = folder / "root", folder / "layer.tar", folder / "foreign.tar"
    shell = Path("/bin/sh").resolve()
    linked = subprocess.run(["ldd", str(shell)], capture_output=True, text=True, check=True).stdout
    for name in re.findall(r"(/\S+) \(", linked):  # where a library is found, the loader among them
        target = root / name.lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(name, target)
    (root / "bin").mkdir()
    shutil.copy(shell, root / "bin" / "sh")
    write_layer(layer, root, prefix="")
    write_archive(archive, [layer], _CONFIG, [FOREIGN])
    return archive
