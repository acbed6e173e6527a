"""Feature: execution-engine, Property 21: Fleet retry.

Unavailable -> 1 s, 2 s, 4 s, at most 3 times, then the failure handler.
On real servers: tests/fleet/test_gateway_faults.py.
"""

from __future__ import annotations

from types import SimpleNamespace

from hypothesis import given, settings
from hypothesis import strategies as st
from mcp.shared.exceptions import MCPError
from mcp.types import CallToolResult, Tool, ToolAnnotations

from airflow_sop_provider.contract.fleet_calls import ERROR_META, MAX_RETRIES_META
from airflow_sop_provider.fleet.breakers import Breakers, MemoryBreakers
from airflow_sop_provider.fleet.call_failures import HttpTap, failure_of
from airflow_sop_provider.fleet.calls import Calls
from airflow_sop_provider.fleet.rates import Rates
from airflow_sop_provider.fleet.registry import HttpServer

SERVER = HttpServer(transport="http", url="http://127.0.0.1:9/mcp")
CALLER = SimpleNamespace(
    sop="s", run_id="r", step="x", map_index=-1, attempt=1, data_sources={"d": {"server": "m", "tools": ["t"]}}
)
UNAVAILABLE = [408, 429, 500, 502, 503, 504, "timeout", "refused"]
outages = st.lists(st.sampled_from(UNAVAILABLE), max_size=8)


def failure(how):
    tap = HttpTap()
    error: Exception = TimeoutError() if how == "timeout" else ConnectionRefusedError()
    if isinstance(how, int):
        tap.status, error = how, MCPError(-32603, "Server returned an error response")
    return failure_of(error, "m", tap, 1.0)


class Sessions:
    def __init__(self, outage, read_only):
        self.outage = list(outage)
        self.asked = 0
        annotations = ToolAnnotations(read_only_hint=read_only)
        self.tool = Tool(name="t", input_schema={"type": "object"}, annotations=annotations)

    async def get(self, execution, name, server):
        return self

    async def tools(self):
        return {"t": self.tool}

    async def call(self, tool, arguments, key):
        self.asked += 1
        if self.outage:
            raise failure(self.outage.pop(0))
        return CallToolResult(content=[], structured_content={"n": 1})


class Audit:
    def __init__(self):
        self.records = []

    async def record(self, access):
        self.records.append(access)


class Servers:
    async def server(self, name):
        return SERVER

    async def names(self):
        return ["m"]


def gateway(sessions):
    waits: list[float] = []

    async def sleep(seconds):
        waits.append(seconds)

    audit = Audit()
    calls = Calls(
        servers=Servers(), sessions=sessions, breakers=Breakers(MemoryBreakers()), audit=audit, rates=Rates(),
        sleep=sleep,
    )  # fmt: skip
    return calls, waits, audit


@settings(max_examples=100)
@given(outages, st.integers(0, 10))
async def test_unavailable_is_tried_again_after_1_2_4_seconds_at_most_three_times(outage, allowed):
    sessions = Sessions(outage, read_only=True)
    calls, waits, audit = gateway(sessions)
    result = await calls.call(CALLER, "m", "t", {}, {MAX_RETRIES_META: allowed})
    retries = min(len(outage), 3, allowed)
    assert waits == [1.0, 2.0, 4.0][:retries]
    assert sessions.asked == retries + 1
    assert result.is_error == (len(outage) > retries)
    (record,) = audit.records
    assert (record.retries, record.ok) == (retries, not result.is_error)
    if result.is_error:
        what = result.meta[ERROR_META]
        assert what["type"] == ("permanent" if retries else "transient")
        assert what["code"] == record.code == failure(outage[retries]).code


@settings(max_examples=100)
@given(outages)
async def test_an_effect_is_repeated_only_while_it_certainly_was_not_begun(outage):
    sessions = Sessions(outage, read_only=False)
    calls, waits, _ = gateway(sessions)
    result = await calls.call(CALLER, "m", "t", {}, {})
    uncertain = [number for number, how in enumerate(outage[:4]) if failure(how).may_have_acted]
    if uncertain:
        assert sessions.asked == uncertain[0] + 1
        assert result.meta[ERROR_META]["code"] == "mcp-outcome-unknown"
    assert waits == [1.0, 2.0, 4.0][: sessions.asked - 1]
