"""`make run`: a local Airflow that carries out an SOP before your eyes and stays up until Ctrl-C.

Every problem a person can meet (a port in use, an environment half installed, a component that
dies, an SOP with an error) ends in one line that says what to do; traces stay in the logs.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tools.dev.environment import ROOT
from tools.dev.signals import raise_on_signals

__all__ = ["SAMPLE", "main"]

SAMPLE = "software-licence-review"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the local Airflow; return the exit code: 0 after Ctrl-C or a succeeded ``--once``, else 1."""
    options = _parse(arguments)
    raise_on_signals()
    try:
        # Imported late, so that an incomplete environment is a sentence and no trace.
        from tools.dev.session import run_session
    except Exception as error:  # a package that is missing, or one of which a part is
        why = error if isinstance(error, ImportError) else f"{type(error).__name__}: {error}"
        print(
            f"sop: the environment is incomplete ({why}): run `make distclean`, then the same command again.",
            file=sys.stderr,
        )
        return 1
    return run_session(options)


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make run", description="Run a local Airflow and an SOP in it.")
    parser.add_argument("--sop", default=SAMPLE, help="id of the SOP to carry out (default: %(default)s)")
    parser.add_argument("--conf", type=_conf, default={}, help="its inputs as a JSON object")
    parser.add_argument("--port", type=int, help="port of the UI (default: the first free one from 8080)")
    parser.add_argument("--once", action="store_true", help="end after the result, with its exit code")
    parser.add_argument("--sops", type=Path, default=ROOT / "sops", help="folder of SOPs (default: sops)")
    parser.add_argument(
        "--home", type=Path, default=Path(os.environ.get("SOP_HOME") or ROOT / ".airflow"), help="Airflow's folder"
    )
    return parser.parse_args(arguments)


def _conf(text: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"not JSON: {error}") from error
    if not isinstance(value, dict):
        raise argparse.ArgumentTypeError('give a JSON object, for example {"group": "web"}')
    return value


if __name__ == "__main__":
    raise SystemExit(main())
