"""The API against its own description: generated requests, as an administrator, to every endpoint on a socket.

No answer is a server's error, each has a status, a content type and a body as described. Half of what is asked names an
SOP and an execution that are there, or nothing but 404 would be seen.
"""

from __future__ import annotations

import random

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis import checks
from schemathesis.specs.openapi import checks as of_openapi

from tests.api.test_executions import finish, submit

CHECKS = [
    checks.not_a_server_error,
    of_openapi.status_code_conformance,
    of_openapi.content_type_conformance,
    of_openapi.response_schema_conformance,
    of_openapi.response_headers_conformance,
]


@pytest.fixture
def api(url, client, token, chain, set_tasks):
    client.headers["Authorization"] = f"Bearer {token}"
    run_id = submit(client, chain).json()["run_id"]
    set_tasks(chain, run_id, first="success", second="success")
    finish(chain, run_id, "success")  # following it ends at once
    found = schemathesis.openapi.from_url(f"{url}/sop/openapi.json")

    @found.hook
    def map_path_parameters(context, path_parameters):
        known = {"dag_id": chain, "run_id": run_id}
        given = dict(path_parameters or {})
        if random.Random(repr(given)).random() < 0.5:
            return {name: known.get(name, value) for name, value in given.items()}
        return given

    return found


def test_every_endpoint_answers_as_described(api, token) -> None:
    asked = set()
    for found in api.get_all_operations():
        operation = found.ok()

        @settings(
            max_examples=10, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck)
        )
        @given(case=operation.as_strategy())
        def check(case) -> None:
            answer = case.call(headers={"Authorization": f"Bearer {token}"}, timeout=30)
            case.validate_response(answer, checks=CHECKS)

        check()
        asked.add(operation.label)
    assert len(asked) == api.statistic.operations.total > 25
