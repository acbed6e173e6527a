"""A PostgreSQL server of Debian's, in a temporary folder, on loopback, under an account of its own."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from pathlib import Path


class PostgresServer:
    """Started by the constructor; `stop` ends it and removes its data.

    :raises RuntimeError: PostgreSQL is not installed (`apt-get install postgresql`).
    """

    def __init__(self) -> None:
        self._bin = _newest_bin()
        self._folder = Path(tempfile.mkdtemp(prefix="sop-postgres-"))
        self._user = "postgres" if os.getuid() == 0 else pwd.getpwuid(os.getuid()).pw_name
        if os.getuid() == 0:
            shutil.chown(self._folder, "postgres")
        self.port = _free_port()
        self._run("initdb", "-D", str(self._data), "-U", "postgres", "-A", "trust", "--no-sync")
        self.start()

    @property
    def _data(self) -> Path:
        return self._folder / "data"

    def start(self) -> None:
        options = (
            f"-p {self.port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={self._folder}"
            " -c max_connections=200 -c fsync=off"
            # as docs/operations.md says; what a killed scheduler had locked is free again
            " -c idle_in_transaction_session_timeout=60s"
        )
        self._run(
            "pg_ctl", "-D", str(self._data), "-w", "-t", "120", "-l", str(self._folder / "log"), "-o", options, "start"
        )

    def shut_down(self) -> None:
        """End the server at once, keep its data."""
        self._run("pg_ctl", "-D", str(self._data), "-m", "immediate", "stop")

    def create_database(self, name: str) -> str:
        """Return the SQLAlchemy URL of a new database."""
        self._run("createdb", "-h", "127.0.0.1", "-p", str(self.port), "-U", "postgres", name)
        return f"postgresql+psycopg2://postgres@127.0.0.1:{self.port}/{name}"

    def stop(self) -> None:
        self.shut_down()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _run(self, program: str, *arguments: str) -> None:
        command = [str(self._bin / program), *arguments]
        if os.getuid() == 0:
            command = ["runuser", "-u", self._user, "--", *command]
        # pg_ctl's server inherits the output: a pipe would never close
        with (self._folder.parent / f"{self._folder.name}.out").open("a+") as output:
            done = subprocess.run(command, stdout=output, stderr=output, stdin=subprocess.DEVNULL, cwd="/", check=False)
            if done.returncode:
                output.seek(0)
                raise RuntimeError(f"{program} failed: {output.read()[-2000:]}")


def _newest_bin() -> Path:
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name))
    if not found:
        raise RuntimeError("PostgreSQL is not installed: apt-get install postgresql")
    return found[-1]


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
