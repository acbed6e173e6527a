"""The engine's app on a socket of this machine, with Airflow's own login, database and an SOP."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator

import pytest
import uvicorn
from airflow.api_fastapi.auth.managers.simple.user import SimpleAuthManagerUser
from fastapi import FastAPI
from fastapi.testclient import TestClient

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
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        server = uvicorn.Server(uvicorn.Config(outer, log_level="error", lifespan="off"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
        thread.start()
        while not server.started:
            time.sleep(0.01)
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        server.should_exit = True
        thread.join()
