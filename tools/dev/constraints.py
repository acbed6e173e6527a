"""Pins every distribution of the full environment in constraints.txt.

Existing pins are kept as long as pyproject.toml allows them; ``--upgrade`` takes the newest. No
index is named in the file: which registry is used is a matter of the machine, not of the project.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tools.dev.environment import ROOT

__all__ = ["HEADER", "compile_constraints"]

HEADER = "# Every distribution of the full environment, pinned. Made from pyproject.toml by 'make constraints'.\n"


def compile_constraints(target: Path, *arguments: str) -> None:
    """Write the pins to ``target``; existing pins there are preferred.

    :raises subprocess.CalledProcessError: uv found no solution; its words are on standard error.
    """
    uv = Path(sys.executable).with_name("uv")
    command = [
        str(uv), "pip", "compile", str(ROOT / "pyproject.toml"), "--all-extras", "--python-version", "3.11",
        "--no-header", "--no-annotate", "--strip-extras", "--quiet", "--output-file", str(target), *arguments,
    ]  # fmt: skip
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    target.write_text(HEADER + target.read_text().replace(HEADER, ""))


def main() -> int:
    """Renew constraints.txt; return the exit code."""
    try:
        compile_constraints(ROOT / "constraints.txt", *sys.argv[1:])
    except subprocess.CalledProcessError as error:
        return error.returncode
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
