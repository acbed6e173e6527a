"""The verifier's command line: ``python3 verify.py [PATH] [--key HEX|FILE] [--digests FOLDER] [--json]``.

Standard library only, because it travels in every export; `sop audit verify` is the same with the house's help.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict
from pathlib import Path

from airflow_sop_provider.audit.verify import Report, UnreadableError, verify_path

__all__ = ["main", "read_key", "render"]


def read_key(text: str) -> bytes:
    """Return a public key given as 64 hex digits or as a file of them.

    :raises ValueError: it is neither.
    """
    try:
        return bytes.fromhex(text)
    except ValueError:
        pass
    try:
        return bytes.fromhex(Path(text).read_text().strip())
    except (OSError, ValueError) as error:
        raise ValueError(f"{text} is neither a public key (64 hex digits) nor a file of one.") from error


def render(report: Report, *, as_json: bool = False) -> str:
    """Return the report as text, or as one JSON document."""
    if as_json:
        return json.dumps({"ok": report.ok, **asdict(report)}, indent=2)
    lines = [f"PROBLEM  {problem}" for problem in report.problems] + [f"note     {note}" for note in report.notes]
    what = f"{report.entries} entries of {report.chains} chain(s), {report.digests} digest(s)"
    verdict = "verified: complete and unchanged" if report.ok else f"{len(report.problems)} problem(s)"
    return "\n".join([*lines, f"{what}: {verdict}"])


def main(arguments: list[str] | None = None) -> int:
    """Verify and print; 0: nothing is wrong, 1: something is, 2: that cannot be verified."""
    parser = argparse.ArgumentParser(description="Verifies an export of an audit log, without anything but Python.")
    parser.add_argument("path", type=Path, help="export (zip), lines of a chain (JSONL) or folder of digests")
    parser.add_argument("--key", type=read_key, help="public key that must have signed: hex digits or file")
    parser.add_argument("--digests", type=Path, help="folder of digests to compare with")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    given = parser.parse_args(arguments)
    try:
        report = verify_path(given.path, key=given.key, digests=given.digests)
    except (OSError, UnreadableError) as error:
        sys.stderr.write(f"{error}\n")
        return 2
    sys.stdout.write(render(report, as_json=given.json) + "\n")
    return 0 if report.ok else 1
