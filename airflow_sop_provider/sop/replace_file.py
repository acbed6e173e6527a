"""Replaces an SOP's file in one move, so that a dag-processor never reads half of it; it keeps its permissions."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

__all__ = ["replace_file"]


def replace_file(file: Path, text: str) -> None:
    """Replace a file's text; a link stays a link.

    :raises OSError: it cannot be written; it is as it was then.
    """
    target = file.resolve()
    descriptor, name = tempfile.mkstemp(dir=target.parent, prefix=".sop-", suffix=".tmp")
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8", newline="") as copy:
            copy.write(text)
        shutil.copymode(target, name)
        os.replace(name, target)
    except BaseException:
        os.unlink(name)
        raise
