"""The runner's image: Debian's Python, the libraries of the extra `runner`, our code. No Airflow in it.

A second one, several times as large, has the agents' libraries as well: who runs no agents need not carry them.

Three layers with lives of their own: Debian and the libraries are kept under the hash of what they were
made from, our code is written anew each time. The Containerfile makes the same where a registry is at hand.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

from tools.cluster.image_archive import write_archive, write_layer
from tools.cluster.problems import ClusterProblem, call
from tools.dev.environment import ROOT

__all__ = [
    "AGENTS_EXTRAS",
    "EXTRA",
    "agents_tag",
    "build_runner_image",
    "debian_layer",
    "image_layers",
    "runner_config",
    "runner_tag",
]

EXTRA = "runner"
"""Extra of the distribution that the image has, on top of its base."""
AGENTS_EXTRAS = (EXTRA, "agents", "openai")
"""Extras of the image that can carry out agent steps, too."""

_SUITE = "bookworm"
_PACKAGES = "python3.11-minimal,libpython3.11-stdlib,ca-certificates,media-types"
_LIBRARIES = "/usr/local/lib/python3.11/dist-packages"
"""Where Debian's Python looks by itself: a server that a step starts inherits no variable that could tell it."""
_USER = "65532:65532"
"""Number of the user; none of its names or files is in the image."""
_NOT_NEEDED = ("/usr/share/doc/*", "/usr/share/man/*", "/usr/share/locale/*", "/usr/share/info/*")


def runner_tag() -> str:
    """Return the image's name with tag; the default of ``[sop] image``."""
    return f"localhost/airflow-sop-runner:{version('airflow-sop-provider')}"


def agents_tag() -> str:
    """Return the name with tag of the image whose steps may be agents."""
    return f"localhost/airflow-sop-runner-agents:{version('airflow-sop-provider')}"


def build_runner_image(cache: Path, *, agents: bool = False) -> Path:
    """Return the archive of the image, made from this checkout.

    :param agents: with what agent steps need.
    :raises ClusterProblem: a tool is missing, or a package could not be had.
    """
    cache.mkdir(parents=True, exist_ok=True)
    tag = agents_tag() if agents else runner_tag()
    target = cache / f"{tag.rpartition('/')[2].partition(':')[0]}.tar"
    # two who need it at once would write the same files; the lock goes with its holder
    with (cache / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        write_archive(target, image_layers(cache, agents=agents), runner_config(), [tag])
    return target


def image_layers(cache: Path, *, agents: bool = False) -> list[Path]:
    """Return the image's layers, the lowest first; what is missing is made."""
    return [debian_layer(cache), _libraries(cache, AGENTS_EXTRAS if agents else (EXTRA,)), _code(cache)]


def runner_config() -> dict[str, object]:
    """Return the image's ``config``; the Containerfile says the same, and a test compares them."""
    return {
        "User": _USER,
        "WorkingDir": "/",
        "Entrypoint": ["python", "-m", "airflow_sop_provider.runner"],
        "Env": [
            "PATH=/usr/local/bin:/usr/bin:/bin",
            "PYTHONDONTWRITEBYTECODE=1",
            "PYTHONUNBUFFERED=1",
        ],
    }


def debian_layer(cache: Path) -> Path:
    """Return the layer with Debian's Python.

    :raises ClusterProblem: mmdebstrap is missing or could not get a package.
    """
    recipe = hashlib.sha256(repr((_SUITE, _PACKAGES, _NOT_NEEDED)).encode()).hexdigest()[:12]
    layer = cache / f"debian-{recipe}.tar"
    if not layer.exists():
        unfinished = layer.with_name(f"unfinished-{layer.name}")
        excluded = [f"--dpkgopt=path-exclude={pattern}" for pattern in _NOT_NEEDED]
        link = ["--customize-hook=ln -s /usr/bin/python3.11 $1/usr/local/bin/python"]
        sources = [str(path) for path in _apt_sources()]
        call(
            [
                "mmdebstrap",
                "--variant=essential",
                f"--include={_PACKAGES}",
                "--quiet",
                "--mode=root",
                *excluded,
                *link,
                _SUITE,
                str(unfinished),
                *sources,
            ]
        )
        unfinished.replace(layer)
    return layer


def _apt_sources() -> list[Path]:
    """Return this machine's own sources of packages: wherever it gets them, the image gets them."""
    folder = Path("/etc/apt")
    found = [folder / "sources.list", *(folder / "sources.list.d").glob("*.sources")]
    return [path for path in found if path.exists() and "debian" in path.read_text().lower()]


def _libraries(cache: Path, extras: Sequence[str]) -> Path:
    requirements = _requirements(extras)
    constraints = (ROOT / "constraints.txt").read_bytes()
    digest = hashlib.sha256(constraints + repr(requirements).encode()).hexdigest()[:12]
    layer = cache / f"libraries-{digest}.tar"
    if not layer.exists():
        unfinished = layer.with_name(f"unfinished-{layer.name}")
        with tempfile.TemporaryDirectory(dir=cache) as folder:
            _install(Path(folder), requirements)
            write_layer(unfinished, Path(folder), prefix=_LIBRARIES)
        unfinished.replace(layer)
    return layer


def _requirements(extras: Sequence[str]) -> list[str]:
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return [*project["dependencies"], *(one for extra in extras for one in project["optional-dependencies"][extra])]


def _code(cache: Path) -> Path:
    layer = cache / "code.tar"
    with tempfile.TemporaryDirectory(dir=cache) as folder:
        _install(Path(folder), [str(ROOT)], "--no-deps", "--no-build-isolation")
        write_layer(layer, Path(folder), prefix=_LIBRARIES)
    return layer


def _install(target: Path, requirements: Sequence[str], *options: str) -> None:
    uv = shutil.which("uv", path=os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")]))
    if uv is None:
        raise ClusterProblem("`uv` is not in the environment; `make env` installs it.")
    constraints = ["--constraints", str(ROOT / "constraints.txt")]
    command = [uv, "pip", "install", "--quiet", "--python", sys.executable, "--target", str(target), *constraints]
    call([*command, *options, *requirements])
    shutil.rmtree(target / "bin", ignore_errors=True)  # scripts name this machine's Python
    # times are not kept in a layer, so byte code must not depend on them
    compiled = [sys.executable, "-m", "compileall", "-q", "--invalidation-mode=unchecked-hash", str(target)]
    subprocess.run(compiled, check=False, capture_output=True)
