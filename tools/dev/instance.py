"""A local Airflow's folder: its secrets, its configuration, its database.

The configuration is a complete airflow.cfg, written at every start, so that any `airflow` command
with the same AIRFLOW_HOME sees the same Airflow; the reasons for its numbers are in design section
4 and docs/operations.md. Secrets are made once and kept in files that only their owner reads.
"""

from __future__ import annotations

import base64
import configparser
import hashlib
import json
import os
import secrets
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import distributions
from pathlib import Path
from typing import TextIO

from tools.dev.environment import ROOT
from tools.dev.logs import telling_line

__all__ = ["ADMIN", "EXECUTORS", "Instance", "InstanceError", "component_environment"]

ADMIN = "admin"
"""The one user of a local Airflow."""

EXECUTORS = "LocalExecutor,sop:airflow_sop_provider.executors.sop_executor.SopExecutor"
"""SOP steps name ``sop``; an ordinary DAG put beside them finds the LocalExecutor."""

_LOCAL_WORKERS = 32
_DAMAGED = ("ImportError", "ModuleNotFoundError", "SyntaxError", "AttributeError")
"""How the last error begins where a part of the installation is missing."""
_LOCK_SECONDS = 60
"""How long a component waits for SQLite's one write lock."""


class InstanceError(Exception):
    """The local Airflow cannot be prepared; the message is one line and names the remedy."""


@dataclass(frozen=True)
class Instance:
    """A local Airflow.

    :param home: its folder, AIRFLOW_HOME; made with mode 0700.
    :param sops: folder of SOP documents.
    :param fleet: fleet.yaml, the MCP servers SOPs may name.
    :param port: the API server's port on 127.0.0.1.
    :param database: SQLAlchemy URL; empty for SQLite in ``home``.
    :param overrides: further options, section -> option -> value.
    """

    home: Path
    sops: Path = ROOT / "sops"
    fleet: Path = ROOT / "fleet.yaml"
    port: int = 8080
    database: str = ""
    overrides: Mapping[str, Mapping[str, str]] | None = None

    @property
    def url(self) -> str:
        """Address of the UI and the REST API."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def password(self) -> str:
        """Password of `ADMIN`."""
        return self._secrets()["admin_password"]

    @property
    def connection(self) -> str:
        """SQLAlchemy URL of the metadata database."""
        return self.database or f"sqlite:///{self.home / 'airflow.db'}?timeout={_LOCK_SECONDS}"

    @property
    def logs(self) -> Path:
        """Folder of the components' own logs; tasks' logs are beside them."""
        return self.home / "logs"

    def prepare(self) -> None:
        """Make the folder, the secrets and the configuration; cheap when they exist."""
        self.home.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.logs.mkdir(exist_ok=True)
        parser = configparser.RawConfigParser()
        parser.read_dict(self.options())
        target = self.home / "airflow.cfg"
        with _private(target.with_suffix(".new")) as stream:
            parser.write(stream)
        target.with_suffix(".new").replace(target)
        with _private(self.home / "passwords.json") as stream:
            json.dump({ADMIN: self.password}, stream)

    def options(self) -> dict[str, dict[str, str]]:
        """Return the sections of airflow.cfg."""
        known = self._secrets()
        sections = _options(self)
        sections["core"]["fernet_key"] = known["fernet_key"]
        sections["api"]["secret_key"] = known["secret_key"]
        sections["api_auth"]["jwt_secret"] = known["jwt_secret"]
        for section, options in (self.overrides or {}).items():
            sections.setdefault(section, {}).update(options)
        if sections["sop"]["runtime"] != "local" and "engine_url" not in (self.overrides or {}).get("sop", {}):
            del sections["sop"]["engine_url"]  # it is on loopback, which no container reaches
        # airflow.cfg is interpolated: a percent sign that means itself is doubled
        return {
            section: {key: value.replace("%", "%%") for key, value in options.items()}
            for section, options in sections.items()
        }

    def migrate(self) -> bool:
        """Bring the database to the installed versions; return whether anything had to be done.

        :raises InstanceError: the migration failed.
        """
        stamp = self.home / "migrated"
        wanted = self._database_identity()
        if stamp.exists() and stamp.read_text() == wanted and self._database_exists():
            return False
        log = self.logs / "migrate.log"
        with log.open("ab") as output:
            done = subprocess.run(
                [sys.executable, "-m", "airflow", "db", "migrate"],
                env=component_environment(self.home),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                check=False,
            )
        if done.returncode:
            why = telling_line(log)
            damaged = why.startswith(_DAMAGED)
            remedy = "`make distclean` makes it anew" if damaged else "`make clean` starts with an empty one"
            raise InstanceError(f"the database could not be prepared: {why} (all of it: {log}) - {remedy}.")
        stamp.write_text(wanted)
        return True

    def _database_identity(self) -> str:
        # providers may have tables of their own
        parts = sorted(
            f"{found.name} {found.version}"
            for found in distributions()
            if found.name.startswith(("apache-airflow", "airflow-sop-provider"))
        )
        migrations = sorted((ROOT / "airflow_sop_provider" / "migrations" / "versions").glob("*.py"))
        ours = [hashlib.sha256(path.read_bytes()).hexdigest() for path in migrations]  # a checkout has no new version
        return hashlib.sha256("\n".join([*parts, *ours, self.database]).encode()).hexdigest()

    def _database_exists(self) -> bool:
        return bool(self.database) or (self.home / "airflow.db").exists()

    def _secrets(self) -> dict[str, str]:
        file = self.home / "secrets.json"
        if not file.exists():
            made = {
                "admin_password": secrets.token_urlsafe(12),
                "fernet_key": base64.urlsafe_b64encode(os.urandom(32)).decode(),
                "secret_key": secrets.token_urlsafe(32),
                "jwt_secret": secrets.token_urlsafe(64),
            }
            self.home.mkdir(mode=0o700, parents=True, exist_ok=True)
            with _private(file) as stream:
                json.dump(made, stream)
        known: dict[str, str] = json.loads(file.read_text())
        return known


def component_environment(home: Path) -> dict[str, str]:
    """Return the environment of every process of the Airflow in ``home``.

    Options of another Airflow in our own environment are left behind: the database they name is not ours to touch.
    """
    foreign = ("AIRFLOW__", "AIRFLOW_", "_AIRFLOW_")
    environment = {
        key: value
        for key, value in os.environ.items()
        if not key.startswith(foreign) and key not in {"PYTHONDONTWRITEBYTECODE", "NO_COLOR"}
    }
    environment["AIRFLOW_HOME"] = str(home)
    environment["AIRFLOW_CONFIG"] = str(home / "airflow.cfg")
    # `sop-runner` and the servers of the fleet are found beside our interpreter
    environment["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), environment.get("PATH", os.defpath)])
    environment["PYTHONUNBUFFERED"] = "1"
    environment["NO_COLOR"] = "1"
    return environment


def _options(instance: Instance) -> dict[str, dict[str, str]]:
    bundle = {
        "name": "sops",
        "classpath": "airflow_sop_provider.bundles.sop_bundle.SopBundle",
        "kwargs": {"path": str(instance.sops), "refresh_interval": 5},
    }
    return {
        "core": {
            "executor": EXECUTORS,
            "load_examples": "False",
            "dags_folder": str(instance.home / "dags"),
            "simple_auth_manager_users": f"{ADMIN}:admin",
            "simple_auth_manager_passwords_file": str(instance.home / "passwords.json"),
            "execution_api_server_url": f"{instance.url}/execution/",
            # a reverse look-up of the host's name can take seconds; nothing here needs more than the name
            "hostname_callable": "socket.gethostname",
            # one limit for all executors together, and the LocalExecutor forks this many workers at its start
            "parallelism": str(_LOCAL_WORKERS),
            "max_active_tasks_per_dag": "1024",
            "max_active_runs_per_dag": "4096",
            "max_map_length": "4096",
            "default_pool_task_slot_count": "4096",
        },
        "database": {
            "sql_alchemy_conn": instance.connection,
            "sql_alchemy_pool_size": "20",
            "sql_alchemy_max_overflow": "40",
        },
        "api": {
            "host": "127.0.0.1",
            "port": str(instance.port),
            "base_url": instance.url,
            "workers": "1",
            "expose_config": "non-sensitive-only",
            "instance_name": "SOP execution engine",
        },
        "api_auth": {},
        "scheduler": {
            "scheduler_idle_sleep_time": "0.25",
            "job_heartbeat_sec": "2",
            "scheduler_heartbeat_sec": "2",
            # long enough that a busy machine does not take a living scheduler for dead
            "scheduler_health_check_threshold": "30",
            "orphaned_tasks_check_interval": "15",
            "max_tis_per_query": "64",
            "max_dagruns_per_loop_to_schedule": "10",
        },
        "triggerer": {"job_heartbeat_sec": "2"},
        # a busy machine answers late; with 5 s and three late heartbeats a living worker would end its task
        "workers": {"execution_api_timeout": "60", "max_failed_heartbeats": "20"},
        "dag_processor": {
            "dag_bundle_config_list": json.dumps([bundle]),
            # by default a folder that all Airflows of a machine share
            "dag_bundle_storage_path": str(instance.home / "bundles"),
            "bundle_refresh_check_interval": "1",
            # unchanged files would be serialised again at each pass; a changed one is noticed at the bundle's refresh
            "min_file_process_interval": "600",
            "print_stats_interval": "300",
        },
        "logging": {"base_log_folder": str(instance.logs), "colored_console_log": "False"},
        "sop": {
            "sops_folder": str(instance.sops),
            "fleet_file": str(instance.fleet),
            "runtime": "local",
            # steps call their tools through the fleet's gateway there, which keeps the servers warm
            "engine_url": f"{instance.url}/sop",
        },
    }


def _private(path: Path) -> TextIO:
    """Open a new or emptied file that nobody but its owner reads."""
    path.unlink(missing_ok=True)
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w")
