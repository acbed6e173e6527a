"""Holds a local Airflow: one at a time in a folder, started together, ended together.

Whoever uses it enters the context, waits for `wait_until_ready`, and calls `check` now and then; a
component that has ended turns into one line with its name and the reason from its log. Leaving the
context ends everything that was started, whatever the way out.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import TextIO

from tools.dev.instance import ADMIN, Instance, component_environment
from tools.dev.logs import telling_line
from tools.dev.processes import (
    Component,
    become_subreaper,
    end_components,
    end_descendants,
    reap,
    start_component,
)
from tools.dev.rest import AirflowApi, Health

__all__ = ["COMPONENTS", "FIRST_COMPONENTS", "LocalAirflow", "SupervisorError", "choose_port"]

COMPONENTS: dict[str, tuple[str, ...]] = {
    "api-server": ("api-server",),
    # The log servers would listen on all interfaces; the API server reads the files itself.
    "scheduler": ("scheduler", "--skip-serve-logs"),
    "dag-processor": ("dag-processor",),
    "triggerer": ("triggerer", "--skip-serve-logs"),
}
"""Airflow's components and the arguments they are started with, in the order of their start."""

FIRST_COMPONENTS = ("api-server", "scheduler", "dag-processor")
"""What an execution needs. No step of ours ever waits in the triggerer, so the start need not wait for it."""

FIRST_PORT = 8080
_PORTS_TRIED = 20
_POLL_SECONDS = 0.25
_GRACE_SECONDS = 8.0
_HEALTH_NAMES = {"scheduler": "scheduler", "dag-processor": "dag_processor", "triggerer": "triggerer"}


class SupervisorError(Exception):
    """The local Airflow cannot run; the message is one line and names the remedy."""


def choose_port(wanted: int | None) -> int:
    """Return ``wanted`` if it is free; without it the first free port from 8080.

    :raises SupervisorError: ``wanted`` is in use, or 20 ports from 8080 are.
    """
    if wanted is not None:
        if _port_is_free(wanted):
            return wanted
        raise SupervisorError(
            f"port {wanted} is in use by another program:"
            f" stop it, or choose another port with `make run PORT={wanted + 1}`."
        )
    for port in range(FIRST_PORT, FIRST_PORT + _PORTS_TRIED):
        if _port_is_free(port):
            return port
    raise SupervisorError(
        f"ports {FIRST_PORT} to {FIRST_PORT + _PORTS_TRIED - 1} are in use: name a free one with `make run PORT=`."
    )


def _how_it_ended(component: Component) -> str:
    """Say it in one line; the last error of a log is not why a program was killed."""
    code = component.process.returncode
    if code is not None and code < 0:
        return f"the {component.name} was ended by {signal.Signals(-code).name} from outside (its log: {component.log})"
    return f"the {component.name} ended with code {code}: {telling_line(component.log)} (all of it: {component.log})"


def _port_is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except (OSError, OverflowError):
            return False
    return True


@dataclass
class LocalAirflow:
    """A context in which the Airflow of ``instance`` runs.

    :param instance: folder and options; the port is replaced by the one chosen.
    :param port: the port to use, None for a free one.
    :param say: told each step of the start, in words.
    """

    instance: Instance
    port: int | None = None
    say: Callable[[str], None] = lambda text: None
    components: dict[str, Component] = field(default_factory=dict)
    started_at: datetime = field(default_factory=lambda: datetime.now(UTC))

    def __enter__(self) -> LocalAirflow:
        become_subreaper()
        self._lock = _take_lock(self.instance.home)
        try:
            self.instance = replace(self.instance, port=choose_port(self.port))
            self.instance.prepare()
            self._describe()
            if self.instance.migrate():
                self.say("database prepared")
            self.started_at = datetime.now(UTC)
            for name in FIRST_COMPONENTS:
                self.start(name)
            self.api = AirflowApi(self.instance.url, ADMIN, self.instance.password)
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with contextlib.suppress(AttributeError):
            self.api.close()
        self._stop()

    def start(self, name: str) -> None:
        """Start a component of `COMPONENTS`, for the first time or again."""
        self.components[name] = start_component(
            name,
            [sys.executable, "-m", "tools.dev.component", *COMPONENTS[name]],
            environment=component_environment(self.instance.home),
            log=self._fresh_log(name),
        )

    def check(self) -> None:
        """Say so if a component has ended.

        :raises SupervisorError: naming the component and the reason from its log.
        """
        reap(self.components.values())
        for component in self.components.values():
            if component.ended:
                raise SupervisorError(_how_it_ended(component))

    def wait_until_ready(self, names: Iterable[str] = FIRST_COMPONENTS) -> None:
        """Return once the components have given a sign of life; those not yet started are started.

        :raises SupervisorError: a component ended instead.
        """
        waiting = list(names)
        for name in waiting:
            if name not in self.components:
                self.start(name)
        while waiting:
            self.check()
            health = self.api.health()
            for name in [name for name in waiting if health and self._is_up(name, health)]:
                waiting.remove(name)
                self.say(f"{name} is up")
            if waiting:
                time.sleep(_POLL_SECONDS)

    def _is_up(self, name: str, health: Health) -> bool:
        """Whoever answers about health is the API server; the others are told by their heartbeats."""
        return name == "api-server" or health.alive_since(_HEALTH_NAMES[name], self.started_at)

    def _describe(self) -> None:
        """Note in the lock file who holds the folder, for the message to a second one."""
        self._lock.seek(0)
        self._lock.truncate()
        self._lock.write(f"{os.getpid()} {self.instance.url}")
        self._lock.flush()

    def _fresh_log(self, name: str) -> Path:
        """Return the component's log, the one of the last start kept beside it."""
        log = self.instance.logs / f"{name}.log"
        if name not in self.components:
            with contextlib.suppress(FileNotFoundError):
                log.replace(log.with_suffix(".last.log"))
        return log

    def _stop(self) -> None:
        try:
            self._end(_GRACE_SECONDS)
        except BaseException:  # a second Ctrl-C: no more waiting, but nothing is left behind
            self._end(0.0)
            raise
        finally:
            self._lock.close()

    def _end(self, grace: float) -> None:
        end_components(self.components.values(), grace=grace)
        end_descendants(grace=min(grace, 2.0))


def _take_lock(home: Path) -> TextIO:
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    lock = (home / "lock").open("a+")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        lock.seek(0)
        pid, _, url = lock.read().partition(" ")
        lock.close()
        raise SupervisorError(
            f"{home} is in use by another `make run` (process {pid or 'unknown'}, {url or 'starting'}):"
            " stop that one first."
        ) from None
    return lock
