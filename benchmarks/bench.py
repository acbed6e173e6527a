"""What every benchmark gets: sizes, a folder, a database, and the one Airflow that some of them share."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from benchmarks.airflow import BenchAirflow
    from tools.dev.instance import Instance

__all__ = ["Bench", "BenchmarkError"]


class BenchmarkError(Exception):
    """A benchmark cannot be run, or what it measured would mean nothing; the message says why."""


class Bench:
    """One run of the benchmarks; a context that leaves nothing running and nothing behind.

    :param quick: sizes with which everything runs once, to see that it works; its figures mean nothing.
    :param postgres: Airflow on a PostgreSQL server of our own instead of SQLite.
    :param seconds: how long the engine is called under load.
    :param say: told what is going on, in words.
    """

    def __init__(
        self,
        *,
        quick: bool,
        postgres: bool = False,
        seconds: int = 300,
        say: Callable[[str], None] = lambda text: None,
    ) -> None:
        self.quick = quick
        self.postgres = postgres
        self.seconds = seconds
        self.say = say
        self.work = Path(tempfile.mkdtemp(prefix="sop-bench-"))
        self._stack = contextlib.ExitStack()
        self._airflow: BenchAirflow | None = None
        self._databases = 0

    def __enter__(self) -> Bench:
        if self.postgres:
            from tests.integration.postgres_server import PostgresServer

            self._server = PostgresServer()
            self._stack.callback(self._server.stop)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()
        if kind is None or not issubclass(kind, Exception):
            shutil.rmtree(self.work, ignore_errors=True)
        else:
            self.say(f"what was running is ended; its logs are kept in {self.work}")

    def number(self, *, full: int, quick: int) -> int:
        """Return the one of two sizes that this run wants."""
        return quick if self.quick else full

    def folder(self, *parts: str) -> Path:
        """Return a folder of this run, made."""
        folder = self.work.joinpath(*parts)
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def prepare(self, instance: Instance) -> None:
        """Make an Airflow's folder and database; migrating an SQLite takes a while, so later ones are copies."""
        instance.prepare()
        template = self.work / "migrated"
        copied = not instance.database and template.exists()
        if copied:
            shutil.copytree(template, instance.home, dirs_exist_ok=True)
        instance.migrate()
        if not instance.database and not copied:
            template.mkdir()
            for name in ("airflow.db", "migrated"):
                shutil.copy(instance.home / name, template)

    def database(self) -> str:
        """Return the URL of a new, empty database; empty for SQLite in Airflow's folder."""
        if not self.postgres:
            return ""
        self._databases += 1
        return self._server.create_database(f"bench{self._databases}")

    @property
    def database_port(self) -> int | None:
        """Port of the database server, None without one."""
        return self._server.port if self.postgres else None

    @property
    def airflow(self) -> BenchAirflow:
        """A running Airflow with the DAGs of `documents`, started when first asked for."""
        if self._airflow is None:
            from benchmarks.airflow import BenchAirflow

            self.say("starting Airflow")
            self._airflow = self._stack.enter_context(BenchAirflow(self))
            self.say("Airflow is up")
        return self._airflow
