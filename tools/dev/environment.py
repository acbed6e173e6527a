"""Makes the virtual environment from pinned constraints, or sees within a moment that it is up to date.

It runs before anything is installed, so it uses the standard library alone. A stamp inside the
environment holds a digest of everything that decides its content; only when that changes is
anything installed. Byte code is compiled at installation: Airflow's components start several
times slower without it, and four of them start at once.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

__all__ = ["EXTRAS", "ROOT", "EnvironmentProblem", "ensure_environment", "environment_folder"]

ROOT = Path(__file__).resolve().parents[2]
EXTRAS: dict[str, str] = {
    "run": "airflow,runner,agents",
    "dev": "airflow,runner,agents,openai,docker,dev",
    "bench": "airflow,bench",
}
"""What an environment is for -> the distribution's extras in it. A smaller one is made, and starts, faster."""
_STAMP = "sop-environment.stamp"
_MINIMUM = (3, 11)


class EnvironmentProblem(Exception):
    """The environment cannot be made; the message is one line and names the remedy."""


def environment_folder() -> Path:
    """Return the virtual environment's folder: ``$SOP_VENV``, else ``.venv`` in the checkout."""
    return Path(os.environ.get("SOP_VENV") or ROOT / ".venv")


def ensure_environment(folder: Path, purpose: str = "dev", *, report: bool = True) -> bool:
    """Make or renew the environment in ``folder``; return whether anything had to be done.

    :param purpose: key of `EXTRAS`; an environment for ``dev`` serves ``run``, too.
    :raises EnvironmentProblem: Python is too old, or an installation step failed.
    """
    if sys.version_info < _MINIMUM:
        raise EnvironmentProblem(
            f"Python {_version(_MINIMUM)} or newer is needed, this is {_version(sys.version_info[:2])}:"
            " install it and run `make PYTHON=python3.11 …`."
        )
    stamp = folder / _STAMP
    wanted = _digest(folder)
    made_for, _, digest = (_read(stamp) or "").partition(" ")
    current = digest == wanted and (folder / "bin" / "python").exists()
    if current and (made_for == purpose or (made_for, purpose) == ("dev", "run")):
        return False
    if made_for == "dev" and purpose == "run":
        purpose = "dev"  # renewing what tests need keeps what tests need
    if report:
        print(f"Making the environment in {folder} (minutes the first time) ...", flush=True)
    log = folder.parent / f"{folder.name}-install.log"
    uv = _find_uv(log)
    if not (folder / "bin" / "python").exists():
        _call([uv, "venv", "--quiet", "--clear", "--python", sys.executable, str(folder)], log)
    stamp.unlink(missing_ok=True)
    _call(_install_command(uv, folder, EXTRAS[purpose]), log)
    stamp.write_text(f"{purpose} {wanted}")
    return True


def _install_command(uv: str, folder: Path, extras: str) -> list[str]:
    constraints = str(ROOT / "constraints.txt")
    return [
        uv, "pip", "install", "--quiet", "--python", str(folder / "bin" / "python"), "--compile-bytecode",
        "--constraints", constraints, "--build-constraints", constraints, "--editable", f"{ROOT}[{extras}]",
    ]  # fmt: skip


def _digest(folder: Path) -> str:
    content = hashlib.sha256()
    for name in ("constraints.txt", "pyproject.toml"):
        content.update((ROOT / name).read_bytes())
    # An environment knows its own path, the checkout's and the interpreter's: moved or renewed ones do not work.
    content.update(repr((str(folder), str(ROOT), sys.version, sorted(EXTRAS.items()))).encode())
    return content.hexdigest()


def _find_uv(log: Path) -> str:
    """Return uv's path; without one, install the pinned version into a small environment of its own."""
    found = shutil.which("uv")
    if found:
        return found
    cache = Path(os.environ.get("SOP_CACHE") or Path.home() / ".cache" / "sop-engine")
    version = _pinned("uv")
    home = cache / f"uv-{version}-python{_version(sys.version_info[:2])}"
    uv = home / "bin" / "uv"
    if not uv.exists():
        _call([sys.executable, "-m", "venv", "--clear", str(home)], log)
        _call([str(home / "bin" / "pip"), "install", "--quiet", f"uv=={version}"], log)
    return str(uv)


def _pinned(name: str) -> str:
    for line in (ROOT / "constraints.txt").read_text().splitlines():
        if line.startswith(f"{name}=="):
            return line.partition("==")[2].strip()
    raise EnvironmentProblem(f"constraints.txt does not pin {name}: run `make constraints`.")


def _call(command: list[str], log: Path) -> None:
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
    if os.environ.get("SOP_CACHE"):
        environment.setdefault("UV_CACHE_DIR", str(Path(os.environ["SOP_CACHE"]) / "uv"))
    # A machine with its own certificate authority tells pip by PIP_CERT; uv asks for another name.
    if os.environ.get("PIP_CERT"):
        environment.setdefault("SSL_CERT_FILE", os.environ["PIP_CERT"])
    log.parent.mkdir(parents=True, exist_ok=True)
    try:
        with log.open("a") as output:
            output.write(f"$ {' '.join(command)}\n")
            output.flush()
            done = subprocess.run(command, env=environment, stdout=output, stderr=output, check=False)
    except OSError as error:
        raise EnvironmentProblem(f"{command[0]} cannot be started ({error.strerror}): is it installed?") from error
    if done.returncode:
        raise EnvironmentProblem(
            f"installing the environment failed: {_last_line(log)} (all of it: {log}) -"
            " check access to the package registry and run the same command again."
        )


def _last_line(log: Path) -> str:
    lines = [line.strip() for line in log.read_text(errors="replace").splitlines() if line.strip()]
    telling = [line for line in lines if "error" in line.lower() or "fail" in line.lower()]
    return (telling or lines or ["no output"])[-1]


def _read(path: Path) -> str | None:
    try:
        return path.read_text()
    except OSError:
        return None


def _version(parts: tuple[int, ...]) -> str:
    return ".".join(str(part) for part in parts)


def main(arguments: Sequence[str] | None = None) -> int:
    """Make the environment; return the exit code."""
    parser = argparse.ArgumentParser(description="Make the virtual environment, or see that it is up to date.")
    parser.add_argument("purpose", choices=sorted(EXTRAS), nargs="?", default="dev")
    purpose = parser.parse_args(arguments).purpose
    try:
        ensure_environment(environment_folder(), purpose)
    except EnvironmentProblem as problem:
        print(f"sop: {problem}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("sop: interrupted; the environment is incomplete, the same command finishes it.", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
