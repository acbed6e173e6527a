"""The tools of the server `python-environment`; their result shapes are documented in README.md here."""

from __future__ import annotations

import platform
import sys
from pathlib import Path
from typing import Annotated

from mcp.server.mcpserver import MCPServer
from mcp.types import ToolAnnotations
from pydantic import BaseModel, Field

from airflow_sop_provider import __version__
from airflow_sop_provider.fleet.servers.distributions import (
    Environment,
    LicenceStatement,
    PackageRecord,
    PackageSummary,
    licence_of,
    summarise,
    verify,
)

__all__ = ["build_server"]

Names = Annotated[list[str], Field(min_length=1, max_length=1000, description="Distribution names")]
_READ = ToolAnnotations(read_only_hint=True)
"""Every tool only looks, so a call may be repeated."""

PageSize = Annotated[int, Field(ge=1, le=1000)]


class PythonInfo(BaseModel):
    """The interpreter and how many distributions it sees."""

    implementation: str
    version: str
    platform: str
    distributions: int


class DistributionPage(BaseModel):
    """One page of the distributions; ``next_offset`` is None on the last one."""

    total: int
    offset: int
    next_offset: int | None
    distributions: list[PackageSummary]


class PackageGroups(BaseModel):
    """All distribution names, cut into groups of at most the size asked for."""

    total: int
    groups: list[list[str]]


class Licences(BaseModel):
    """Licence statements of the distributions asked for."""

    packages: list[LicenceStatement]
    not_installed: list[str]


class RecordReport(BaseModel):
    """RECORD verification of the distributions asked for; ``mismatched`` and ``missing`` count listed paths."""

    intact: bool
    packages: list[PackageRecord]
    files_checked: int
    bytes_checked: int
    mismatched: int
    missing: int
    not_installed: list[str]


def build_server(folder: Path | None = None) -> MCPServer:
    """Return the server; each call looks at the environment anew.

    :param folder: a site-packages folder to serve instead of the running interpreter's path.
    """
    server = MCPServer(
        "python-environment",
        version=__version__,
        instructions="The installed Python environment, read-only.",
        log_level="WARNING",
    )

    @server.tool(annotations=_READ)
    def python_info() -> PythonInfo:
        """Describe the interpreter and count its distributions."""
        return PythonInfo(
            implementation=platform.python_implementation(),
            version=platform.python_version(),
            platform=sys.platform,
            distributions=len(Environment(folder)),
        )

    @server.tool(annotations=_READ)
    def list_distributions(offset: Annotated[int, Field(ge=0)] = 0, limit: PageSize = 500) -> DistributionPage:
        """List installed distributions by name: version, licence and number of files, in pages."""
        environment = Environment(folder)
        names = environment.names
        end = offset + limit
        page, _ = environment.select(names[offset:end])
        return DistributionPage(
            total=len(names),
            offset=offset,
            next_offset=end if end < len(names) else None,
            distributions=[summarise(distribution) for distribution in page],
        )

    @server.tool(annotations=_READ)
    def package_groups(size: PageSize = 25) -> PackageGroups:
        """Cut all distribution names into groups, one for each task of a fan-out."""
        names = Environment(folder).names
        return PackageGroups(total=len(names), groups=[names[i : i + size] for i in range(0, len(names), size)])

    @server.tool(annotations=_READ)
    def licences(names: Names) -> Licences:
        """Report what each named distribution's metadata says about its licence."""
        found, absent = Environment(folder).select(names)
        return Licences(packages=[licence_of(distribution) for distribution in found], not_installed=absent)

    @server.tool(annotations=_READ)
    def verify_record(names: Names) -> RecordReport:
        """Hash every file of the named distributions and compare it with RECORD."""
        found, absent = Environment(folder).select(names)
        return _report([verify(distribution) for distribution in found], absent)

    return server


def _report(records: list[PackageRecord], absent: list[str]) -> RecordReport:
    return RecordReport(
        intact=not absent and all(record.intact for record in records),
        packages=records,
        files_checked=sum(record.files_checked for record in records),
        bytes_checked=sum(record.bytes_checked for record in records),
        mismatched=sum(len(record.mismatched) for record in records),
        missing=sum(len(record.missing) for record in records),
        not_installed=absent,
    )
