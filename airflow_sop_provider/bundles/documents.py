"""What lies in a folder of SOP documents: identity of each file and which of them may be read.

Looked at every few seconds, for thousands of files, so a file whose metadata did not change is not
read again. Validation is not done here: a file only needs an identity, and an id to tell two SOPs
with the same one apart.
"""

from __future__ import annotations

import hashlib
import logging
import os
import re
import stat
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from airflow_sop_provider.sop.folder import find_files
from airflow_sop_provider.sop.loader import check_file
from airflow_sop_provider.sop.problems import Problem
from airflow_sop_provider.sop.source import MAX_BYTES

__all__ = ["Document", "DocumentFolder"]

log = logging.getLogger(__name__)

_ID_LINE = re.compile(rb"""^(?:sop|"sop"|'sop')[ \t]*:[ \t]+["']?([a-z0-9][-a-z0-9]*)""", re.MULTILINE)


@dataclass(frozen=True)
class Document:
    """A file that is, or should be, an SOP.

    :param path: absolute.
    :param name: path relative to the folder, with slashes.
    :param digest: SHA-256, hex, of the content as far as it is read; changes when the file does.
    :param sop: id of the SOP, None if there is none to be seen.
    :param refused: why it must not become a DAG, though it may be valid; None if nothing speaks against it.
    """

    path: Path
    name: str
    digest: str
    sop: str | None
    refused: str | None = None


class DocumentFolder:
    """A folder of documents.

    :param folder: absolute; need not exist yet.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._known: dict[Path, tuple[tuple[int, ...], Document]] = {}

    def survey(self, owners: Callable[[], Mapping[str, str]]) -> list[Document]:
        """Return all documents, sorted by path; of those with one id all but one are refused.

        The one that has the id already keeps it, so that a copy dropped into the folder cannot take
        the place of an SOP that is in use; among new ones the first by path gets it.

        :param owners: SOP id -> name of the document that has it so far; asked only if two want one id.
        """
        try:
            paths = find_files(self.folder)
        except FileNotFoundError:
            log.warning("there is no folder %s; make it and put SOP documents into it", self.folder)
            paths = []
        documents = list(self._documents(paths))
        self._known = {path: self._known[path] for path in paths if path in self._known}
        return list(_one_per_id(documents, owners))

    def _documents(self, paths: list[Path]) -> Iterator[Document]:
        inside = self.folder.resolve()
        for path in paths:
            if (document := self._document(path, inside)) is not None:
                yield document

    def _document(self, path: Path, inside: Path) -> Document | None:
        """Return the document, None if it is gone by now. One system call as long as nothing has changed."""
        try:
            found = os.lstat(path)
        except FileNotFoundError:
            return None
        try:
            if stat.S_ISLNK(found.st_mode):
                if not _leads_inside(path, inside):
                    return self._outside(path)
                found = os.stat(path)
        except OSError as error:
            return Document(path, self._name(path), f"unreadable-{error.errno}", None)
        signature = (found.st_mtime_ns, found.st_ctime_ns, found.st_size, found.st_ino, found.st_dev)
        known = self._known.get(path)
        if known is None or known[0] != signature:
            known = (signature, self._read(path))
            self._known[path] = known
        return known[1]

    def _read(self, path: Path) -> Document:
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)  # a pipe must not be waited for
            with open(descriptor, "rb") as file:
                content = file.read(MAX_BYTES + 1)
        except OSError as error:
            return Document(path, self._name(path), f"unreadable-{error.errno}", None)
        return Document(path, self._name(path), hashlib.sha256(content).hexdigest(), _id_in(content, path))

    def _outside(self, path: Path) -> Document:
        problem = Problem(
            "outside-folder",
            "the file is a symbolic link that leaves the folder",
            str(path),
            suggestion="put a copy into the folder",
        )
        return Document(path, self._name(path), "outside", None, problem.render())

    def _name(self, path: Path) -> str:
        return path.relative_to(self.folder).as_posix()


def _leads_inside(path: Path, inside: Path) -> bool:
    try:
        return path.resolve(strict=True).is_relative_to(inside)
    except (OSError, RuntimeError):
        return True  # a broken link or a circle: reading it says so


def _id_in(content: bytes, path: Path) -> str | None:
    """Return the SOP's id: by its line, which every usual document has, else by loading the document."""
    if len(content) > MAX_BYTES:
        return None
    line = _ID_LINE.search(content)
    if line is not None:
        return line.group(1).decode("ascii")
    loaded = check_file(path).loaded
    return None if loaded is None else loaded.sop.sop


def _one_per_id(documents: list[Document], owners: Callable[[], Mapping[str, str]]) -> Iterator[Document]:
    claims: dict[str, Document] = {}
    several: set[str] = set()
    for document in documents:
        if document.sop is not None and claims.setdefault(document.sop, document) is not document:
            several.add(document.sop)
    if several:
        owned = owners()
        claims |= {
            document.sop: document
            for document in documents
            if document.sop in several and owned.get(document.sop) == document.name
        }
    for document in documents:
        holder = claims.get(document.sop or "")
        yield document if holder is None or holder is document else replace(document, refused=_taken(document, holder))


def _taken(document: Document, holder: Document) -> str:
    problem = Problem(
        "duplicate-id",
        f"the id `{document.sop}` is already taken by {holder.path}",
        str(document.path),
        suggestion="give one of the two another id",
    )
    return problem.render()
