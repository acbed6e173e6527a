"""Makes `verify.py`: the modules of this room that verify, one after the other in one file that runs by itself.

The very same code that the engine uses, so there are no two verifiers that could disagree; an auditor can read it
from top to bottom. Imports between the modules go, as all of it is one module then, which is why no two of them may
use one name at their top level (a test sees to it).
"""

from __future__ import annotations

import ast
from importlib import resources

__all__ = ["MODULES", "verifier_script"]

MODULES = ("canonical", "masking", "entries", "ed25519", "digests", "chain_check", "verify", "verifier_main")
"""In an order in which each only needs those before it."""

_HEAD = '''"""Verifies an export of an SOP execution's audit log. Needs Python 3.11 or newer and nothing else.

    python3 verify.py EXPORT.zip --key PUBLIC_KEY

This file comes with the export, so it proves nothing about itself: for evidence that somebody else prepared use
the `sop audit verify` of an installation you trust.
"""

from __future__ import annotations
'''
_TAIL = '\n\nif __name__ == "__main__":\n    raise SystemExit(main())\n'


def verifier_script() -> str:
    """Return the text of the script."""
    package = resources.files("airflow_sop_provider.audit")
    return _HEAD + "".join(_stripped(name, (package / f"{name}.py").read_text()) for name in MODULES) + _TAIL


def _stripped(name: str, source: str) -> str:
    lines = source.splitlines()
    for node in ast.parse(source).body:
        inner = isinstance(node, ast.ImportFrom) and (node.module or "").startswith(("__future__", __package__))
        names = isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "__all__"
        if inner or names:
            end = node.end_lineno or node.lineno
            lines[node.lineno - 1 : end] = [""] * (end - node.lineno + 1)
    return f"\n\n# ---- {name}\n\n" + "\n".join(lines).strip() + "\n"
