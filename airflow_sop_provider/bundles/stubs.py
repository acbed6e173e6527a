"""The small DAG files that stand for SOP documents.

A stub is a pure function of its document's identity: it changes exactly when the document does, and
Airflow parses a file again when it changed. Written atomically, as the dag-processor may read at any moment.
"""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Iterable
from pathlib import Path

from airflow_sop_provider.bundles.documents import Document

__all__ = ["StubFolder", "stub_text"]

_OWNER_LINE = re.compile(r"^# owns: (\S+)$", re.MULTILINE)
_SUFFIX = ".py"


def stub_text(document: Document) -> str:
    """Return the DAG file of a document."""
    head = (
        f"# {_one_line(document.name)} as an Airflow dag. Edit the document, not this file: it is written again.\n"
        f"# sha256: {document.digest}\n"
    )
    if document.refused is not None:
        return f"{head}from dag_factory import refuse\n\ndag = refuse({document.refused!r})\n"
    owner = f"# owns: {document.sop}\n" if document.sop else ""
    call = f"dag_of_file({str(document.path)!r}, show_document=True)"
    return f"{head}{owner}from dag_factory import dag_of_file\n\ndag = {call}\n"


class StubFolder:
    """A folder that holds nothing but stubs.

    :param folder: made when missing.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._texts: dict[str, tuple[tuple[int, ...], str]] = {}

    def owners(self) -> dict[str, str]:
        """Return SOP id -> name of the document that has it, as the stubs say."""
        found: dict[str, str] = {}
        for path in self._stubs():
            if (owner := _OWNER_LINE.search(self._text(path) or "")) is not None:
                found[owner.group(1)] = self._name(path)
        return found

    def write(self, documents: Iterable[Document]) -> set[str]:
        """Make the folder hold exactly the stubs of these documents; return the names that changed."""
        self.folder.mkdir(parents=True, exist_ok=True)
        changed: set[str] = set()
        wanted: set[str] = set()
        for document in documents:
            path = os.path.join(self.folder, f"{document.name}{_SUFFIX}")
            wanted.add(path)
            text = stub_text(document)
            if self._text(path) != text:
                _write(Path(path), text)
                changed.add(document.name)
        for path in self._stubs() - wanted:
            Path(path).unlink(missing_ok=True)
            self._texts.pop(path, None)
            changed.add(self._name(path))
            self._remove_empty(Path(path).parent)
        return changed

    def _text(self, path: str) -> str | None:
        """Return a stub's text, read only when the file is another than last time; None if there is none."""
        try:
            found = os.stat(path)
            signature = (found.st_mtime_ns, found.st_size, found.st_ino)
            known = self._texts.get(path)
            if known is None or known[0] != signature:
                known = self._texts[path] = (signature, Path(path).read_text("utf-8"))
        except (OSError, UnicodeDecodeError):
            return None
        return known[1]

    def _name(self, path: str) -> str:
        return Path(path).relative_to(self.folder).as_posix().removesuffix(_SUFFIX)

    def _stubs(self) -> set[str]:
        """Return the paths of all stubs; as text, since a `Path` costs more than looking at the file."""
        return {
            os.path.join(folder, name)
            for folder, _, names in os.walk(self.folder)
            for name in names
            if name.endswith(_SUFFIX)
        }

    def _remove_empty(self, folder: Path) -> None:
        while folder != self.folder:
            try:
                folder.rmdir()
            except OSError:
                return
            folder = folder.parent


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    # Not named .py until it is complete, or it would be parsed as it is.
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=".stub-", suffix=".tmp")
    try:
        with open(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def _one_line(name: str) -> str:
    """Return a file name as a comment may hold it: names may contain anything, line breaks too."""
    return name.encode("unicode_escape").decode("ascii")
