"""The engine's app on a socket of this machine, with Airflow's own login, database and an SOP."""

from __future__ import annotations

import io
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from functools import partial

import pytest
import uvicorn
from airflow.api_fastapi.app import create_app as create_airflow_app
from airflow.api_fastapi.auth.managers.simple.user import SimpleAuthManagerUser
from fastapi import FastAPI
from fastapi.testclient import TestClient
from starlette.routing import Mount

from airflow_sop_provider.cli import main
from tests.airflow_env import airflow_database
from tests.api.conftest import chain, client, empty_tables, set_tasks

__all__ = ["airflow_database", "chain", "client", "empty_tables", "set_tasks"]


@pytest.fixture
def token(client: TestClient) -> str:
    user = SimpleAuthManagerUser(username="admin", role="admin")
    return str(client.app.state.auth_manager.generate_jwt(user))  # type: ignore[attr-defined]


@pytest.fixture
def url(client: TestClient) -> Iterator[str]:
    """Address of a server that has the app where Airflow's has it."""
    outer = FastAPI()
    outer.mount("/sop", client.app)
    with served(outer) as address:
        yield address


@pytest.fixture(scope="session")
def airflow_app(airflow_database: None) -> FastAPI:
    """Airflow's own API, made once: that takes seconds."""
    return create_airflow_app(apps="core")


@pytest.fixture
def airflow_url(client: TestClient, airflow_app: FastAPI) -> Iterator[str]:
    """Address of Airflow's own API with the test's app of the engine where the plugin mounts it."""
    mounted = next(route for route in airflow_app.routes if isinstance(route, Mount) and route.path == "/sop")
    mounted.app = client.app
    with served(airflow_app) as address:
        yield address


@contextmanager
def served(application: FastAPI) -> Iterator[str]:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        server = uvicorn.Server(uvicorn.Config(application, log_level="error", lifespan="off"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
        thread.start()
        while not server.started:
            time.sleep(0.01)
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        server.should_exit = True
        thread.join()


@dataclass(frozen=True)
class Done:
    """What a call of `sop` printed, and its exit code."""

    exit_code: int
    stdout: str
    stderr: str

    @property
    def output(self) -> str:
        return self.stdout + self.stderr


def call_sop(url: str, token: str, *arguments: str) -> Done:
    """Call the console script in this process, as who the token is."""
    out, err = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
        patch.setenv("SOP_URL", url)
        patch.setenv("SOP_TOKEN", token)
        with pytest.raises(SystemExit) as ended:
            main(list(arguments))
    return Done(int(ended.value.code or 0), out.getvalue(), err.getvalue())


@pytest.fixture
def sop(url: str, token: str) -> Callable[..., Done]:
    """Call the command line as the administrator: ``sop("status", execution)``."""
    return partial(call_sop, url, token)


@pytest.fixture
def airflow_sop(airflow_url: str, token: str) -> Callable[..., Done]:
    """The same against all of Airflow's API."""
    return partial(call_sop, airflow_url, token)
