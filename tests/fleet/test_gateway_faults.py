"""What runners get when a server misbehaves, through the gateway; directly: tests/runner/test_tool_*."""

from __future__ import annotations

import socket
import sys
import threading
from pathlib import Path

import pytest

from airflow_sop_provider.runner.failures import StepFailureError

from .conftest import runner
from .gateway_parts import served

RAW_SERVER = str(Path(__file__).parents[1] / "runner" / "raw_server.py")
READ = {"annotations": {"readOnlyHint": True}}


def failure(call, *arguments, **options):
    with pytest.raises(StepFailureError) as caught:
        call(*arguments, **options)
    return str(caught.value.error_type), caught.value.code, caught.value.exit_code


@pytest.mark.parametrize(
    ("how", "expected", "asked"),
    [
        ("401", ("permanent", "mcp-http-401", 77), 1),
        ("403", ("permanent", "mcp-http-403", 77), 1),
        ("404", ("permanent", "mcp-unknown-method", 78), 1),
        ("429", ("permanent", "mcp-http-429", 69), 4),
        ("503", ("permanent", "mcp-http-503", 69), 4),
        ("500", ("permanent", "mcp-http-500", 69), 4),
        ("drop", ("permanent", "mcp-connection-closed", 69), 4),
        ("hang", ("permanent", "mcp-timeout", 69), 4),
        ("drip", ("permanent", "mcp-timeout", 69), 4),
        ("50MB", ("permanent", "mcp-result-too-large", 65), 1),
        ("no-json", ("permanent", "mcp-protocol", 65), 1),
        ("html", ("permanent", "mcp-protocol", 65), 1),
    ],
)
def test_a_read_of_a_server_that_misbehaves(call, fleet, raw, how, expected, asked):
    raw.changes["structured"] = READ
    raw.plan["structured"] = [how] * 9
    found = failure(call, "structured")
    assert (found[0], found[2]) == (expected[0], expected[2])
    assert found[1] == expected[1] or how in ("drop", "404")  # which of their words depends on who notices first
    assert raw.seen["structured"] == asked
    assert fleet.waits == [1.0, 2.0, 4.0][: asked - 1]
    (access,) = fleet.notes.accesses
    assert (access.ok, access.code, access.retries) == (False, found[1], asked - 1)


@pytest.mark.parametrize(("how", "asked"), [("429", 4), ("503", 4), ("500", 1), ("drop", 1), ("hang", 1)])
def test_an_effect_is_tried_again_only_if_it_certainly_was_not_begun(call, fleet, raw, how, asked):
    raw.plan["structured"] = [how] * 9
    code = failure(call, "structured")[1]
    assert raw.seen["structured"] == asked
    assert (code == "mcp-outcome-unknown") == (asked == 1)


@pytest.mark.parametrize("failures", [1, 2, 3])
def test_a_server_that_recovers(call, fleet, raw, failures):
    raw.plan["structured"] = ["503"] * failures
    assert call("structured") == {"n": 7}
    assert fleet.waits == [1.0, 2.0, 4.0][:failures]
    assert [access.retries for access in fleet.notes.accesses] == [failures]


def test_the_step_says_how_often_it_may_be_tried_again(call, fleet, raw):
    raw.plan["structured"] = ["503"] * 9
    assert failure(call, "structured", max_retries=1)[1] == "mcp-http-503"
    assert raw.seen["structured"] == 2
    raw.seen.clear()
    assert failure(call, "structured", max_retries=0) == ("transient", "mcp-http-503", 75)
    assert raw.seen["structured"] == 1


@pytest.mark.parametrize(
    ("tool", "expected"),
    [
        ("fails", ("permanent", "mcp-tool-error", 69)),
        ("fails_for_now", ("transient", "mcp-tool-error", 75)),
        ("breaks_schema", ("permanent", "mcp-invalid-result", 65)),
        ("omits_structure", ("permanent", "mcp-invalid-result", 65)),
        ("not_a_result", ("permanent", "mcp-invalid-result", 65)),
        ("image", ("permanent", "mcp-unsupported-content", 65)),
        ("invalid_params", ("permanent", "mcp-invalid-arguments", 65)),
        ("odd", ("permanent", "mcp-protocol", 65)),
        ("no_such_tool", ("permanent", "mcp-unknown-tool", 78)),
    ],
)
def test_answers_that_are_no_use(call, raw, tool, expected):
    assert failure(call, tool) == expected
    assert raw.seen[tool] <= 1


def test_arguments_that_the_tool_refuses_are_not_sent(call, raw):
    assert failure(call, "picky", {"n": "one"}) == ("permanent", "mcp-invalid-arguments", 65)
    assert raw.seen["picky"] == 0


def test_the_breaker_opens_and_one_probe_decides(call, fleet, raw):
    raw.changes["structured"] = READ
    raw.plan["structured"] = ["503"] * 99
    codes = [failure(call, "structured", run_id=str(number))[1] for number in range(12)]
    assert codes[0] == "mcp-http-503"
    assert codes[-1] == "mcp-circuit-open"
    asked = raw.seen["structured"]
    fleet.now += 31
    # the probe failed, so its own retry is refused
    assert failure(call, "structured", run_id="probe")[1] == "mcp-circuit-open"
    assert raw.seen["structured"] == asked + 1
    fleet.now += 31
    raw.plan.clear()
    assert call("structured", run_id="healed") == {"n": 7}
    assert raw.seen["structured"] <= asked + 2
    assert fleet.breakers.states()["raw"].name == "closed"


def test_the_breaker_counts_the_calls_that_were_made_and_nothing_else(call, fleet):
    """One with arguments too, for which the library would list the tools first."""
    for number in range(3):
        assert call("picky", {"n": number}) == {"n": 1}
    fleet.now += 2  # successes are reported once a second
    call("picky", {"n": 9})
    assert fleet.breakers.states()["raw"].window == "0" * 3 == "0" * (len(fleet.notes.accesses) - 1)


def test_nobody_listens(tmp_path):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}/mcp"
        with served({"raw": {"transport": "http", "url": url}}) as fleet:
            caller = runner(fleet, tmp_path, "x")
            found = failure(caller.call, "raw", "x", {}, 30.0, 3)
            assert found == ("permanent", "mcp-unreachable", 69)
            assert fleet.waits == [1.0, 2.0, 4.0]


def test_server_unknown_to_the_fleet(tmp_path):
    with served({}) as fleet:
        caller = runner(fleet, tmp_path, "x")
        assert failure(caller.call, "raw", "x", {}, 30.0, 3) == ("permanent", "fleet", 78)


def test_missing_credential(tmp_path, monkeypatch):
    monkeypatch.delenv("RAW_TOKEN", raising=False)
    headers = {"Authorization": "Bearer ${RAW_TOKEN}"}
    with served({"raw": {"transport": "http", "url": "http://127.0.0.1:9", "headers": headers}}) as fleet:
        caller = runner(fleet, tmp_path, "x")
        assert failure(caller.call, "raw", "x", {}, 30.0, 3) == ("permanent", "fleet-variable-missing", 78)


def stdio(**parts):
    return {"raw": {"transport": "stdio", "command": sys.executable, "args": ["-S", RAW_SERVER], "timeout": 5, **parts}}


def test_stdio_server_that_dies_in_a_call(tmp_path):
    with served(stdio()) as fleet:
        caller = runner(fleet, tmp_path, "dies", "structured")
        assert failure(caller.call, "raw", "dies", {}, 30.0, 3) == ("permanent", "mcp-outcome-unknown", 69)
        assert caller.call("raw", "structured", {}, 30.0, 3) == {"n": 7}  # a new process


def test_stdio_server_that_hangs(tmp_path):
    with served(stdio(timeout=1, idempotent_tools=["hangs"])) as fleet:
        caller = runner(fleet, tmp_path, "hangs")
        assert failure(caller.call, "raw", "hangs", {}, 30.0, 1) == ("permanent", "mcp-timeout", 69)


def test_a_shared_stdio_server_serves_all_executions(tmp_path):
    with served(stdio(shared=True)) as fleet:
        for run in ("a", "b", "c"):
            assert runner(fleet, tmp_path, "structured", run_id=run).call("raw", "structured", {}, 30.0, 3) == {"n": 7}
        assert len(fleet.sessions) == 1


def test_program_that_does_not_exist(tmp_path):
    with served(stdio(command="no-such-server")) as fleet:
        caller = runner(fleet, tmp_path, "x")
        assert failure(caller.call, "raw", "x", {}, 30.0, 3) == ("permanent", "mcp-server-not-found", 78)


def test_calls_at_once_share_one_session(call, fleet, raw, tmp_path):
    raw.changes["structured"] = READ
    caller = runner(fleet, tmp_path, "structured")
    results: list[object] = []
    threads = [
        threading.Thread(target=lambda: results.append(caller.call("raw", "structured", {}, 30.0, 3))) for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [{"n": 7}] * 8
    assert raw.seen["initialize"] == 1
