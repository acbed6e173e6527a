"""One call through the gateway, from who may make it to the record of what came of it.

The order is deliberate. What can refuse comes before what costs: the SOP's permission, the rate, the tool's
definition, the arguments. A call that may have an effect is noted before it is made. Its record is written before its
result leaves.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from mcp.types import CallToolResult, TextContent, Tool
from tenacity import AsyncRetrying, retry_if_exception, stop_after_attempt, wait_exponential

from airflow_sop_provider.contract.exit_codes import ErrorType, ExitCode
from airflow_sop_provider.contract.fleet_calls import ERROR_META, ERROR_TYPE_META
from airflow_sop_provider.fleet.breakers import Breakers
from airflow_sop_provider.fleet.call_failures import CallFailedError, permanent, too_large, unavailable
from airflow_sop_provider.fleet.call_policy import (
    RETRY_DELAYS,
    allowed_tools,
    check_arguments,
    check_outputs,
    exhausted,
    idempotency_key,
    is_read,
    is_repeatable,
    outcome_unknown,
    retries_allowed,
)
from airflow_sop_provider.fleet.ports import (
    AuditSink,
    Caller,
    DataAccess,
    ExpectedOutputs,
    Journal,
    ServerSource,
    SnapshotStore,
)
from airflow_sop_provider.fleet.rates import Rates
from airflow_sop_provider.fleet.registry import FleetError, HttpServer, StdioServer
from airflow_sop_provider.fleet.sessions import Session, Sessions
from airflow_sop_provider.fleet.snapshots import definition_of, digest_of

__all__ = ["Calls"]

_LOG = logging.getLogger(__name__)


@dataclass
class _Call:
    """One call while it is made.

    :ivar probe: the breaker's probe that it is, kept from listing the tool to calling it: a server that lists its tools
        and fails every call is not healed.
    """

    caller: Caller
    server_name: str
    server: HttpServer | StdioServer
    tool: str
    arguments: dict[str, Any]
    meta: Mapping[str, Any]
    arguments_digest: str
    key: str | None
    retries: int = 0
    replayed: bool = False
    probe: str | None = None
    started: float = field(default_factory=time.monotonic)


class Calls:
    """Carries out what callers ask of servers.

    :param journal: None: no call is remembered, so nothing keeps a repeated attempt from repeating it.
    :param snapshots: None: definitions are not compared.
    :param expected: what SOPs expect of results; None: nothing is compared with them here.
    :param sleep: waits between retries.
    """

    def __init__(
        self,
        *,
        servers: ServerSource,
        sessions: Sessions,
        breakers: Breakers,
        audit: AuditSink,
        rates: Rates,
        journal: Journal | None = None,
        snapshots: SnapshotStore | None = None,
        expected: ExpectedOutputs | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self.servers = servers
        self.sessions = sessions
        self.breakers = breakers
        self._audit = audit
        self._rates = rates
        self._journal = journal
        self._snapshots = snapshots
        self._expected = expected
        self._sleep = sleep

    async def tools(self, caller: Caller, server_name: str) -> list[Tool]:
        """Return the tools that the caller may call and whose definition is the one its SOP was validated against.

        :raises CallFailedError: if the server cannot be asked.
        """
        allowed = allowed_tools(caller, server_name)
        server = await self._server(server_name)
        found = await self._retried(
            server_name, lambda: self._listed(caller, server_name, server), lambda _: True, len(RETRY_DELAYS), None
        )
        tools = [tool for tool in found.values() if tool.name in allowed]
        return [tool for tool in tools if await self._is_as_validated(caller.sop, server_name, tool)]

    async def call(
        self, caller: Caller, server_name: str, tool: str, arguments: dict[str, Any], meta: Mapping[str, Any]
    ) -> CallToolResult:
        """Make a call and record it; a failure is a result, too: ``isError``, and in ``_meta`` what it means."""
        digest = digest_of(arguments)
        started = time.monotonic()
        result: CallToolResult | None = None
        call: _Call | None = None
        try:
            server = await self._server(server_name)
            key = idempotency_key(caller, server_name, tool, digest, meta)
            call = _Call(caller, server_name, server, tool, arguments, meta, digest, key)
            result = await self._checked(call)
            code = None if not result.is_error else "mcp-tool-error"
        except CallFailedError as failure:
            result, code = _as_result(failure), failure.code
        except asyncio.CancelledError:
            await asyncio.shield(self._record(caller, server_name, tool, digest, call, None, "cancelled", started))
            raise
        try:
            await self._record(caller, server_name, tool, digest, call, result, code, started)
        except Exception:
            _LOG.exception("The record of a call of %s.%s cannot be written", server_name, tool)
            return _as_result(unavailable("audit-unavailable", "The audit log cannot be written, so nothing is read."))
        return result

    async def refuse(self, caller: Caller, server_name: str) -> None:
        """Record that a caller asked for a server that its SOP does not name."""
        await self._record(
            caller, server_name, "", digest_of({}), None, None, "server-not-allowed", time.monotonic()
        )  # fmt: skip

    async def _checked(self, call: _Call) -> CallToolResult:
        if call.tool not in allowed_tools(call.caller, call.server_name):
            text = f"The SOP does not allow `{call.server_name}.{call.tool}`."
            raise permanent(ExitCode.NOT_ALLOWED, "tool-not-allowed", f"{text} Add it to `data_sources` if it should.")
        await self._rates.check((call.caller.sop, call.caller.run_id), call.server_name, call.server)
        tool = await self._retried(
            call.server_name, lambda: self._tool(call), lambda _: True, retries_allowed(call.meta), call
        )
        if not await self._is_as_validated(call.caller.sop, call.server_name, tool):
            text = (
                f"The definition of `{call.server_name}.{call.tool}` changed since the SOP was validated. "
                "Look at the change, then validate the SOP again: `sop fleet snapshot`."
            )
            raise permanent(ExitCode.NOT_ALLOWED, "tool-changed", text)
        check_arguments(call.arguments, tool)
        result = await self._noted(call, tool)
        await self._check_outputs(call, result)
        return result

    async def _check_outputs(self, call: _Call, result: CallToolResult) -> None:
        """Hold a result against the SOP; what had an effect is noted as done before, and is not done again."""
        if self._expected is None or result.is_error:
            return
        schema = await self._expected(call.caller, call.server_name, call.tool)
        if schema is not None:
            check_outputs(result, schema, call.server_name, call.tool)

    async def _noted(self, call: _Call, tool: Tool) -> CallToolResult:
        """Make the call under its idempotency key; reads need none, since they may be repeated."""
        journal, key = self._journal, call.key
        if journal is None or key is None or is_read(tool):
            return await self._made(call, tool)
        entry = await journal.begin(key, call.caller, call.server_name, call.tool)
        if entry.state == "done" and entry.result is not None:
            call.replayed = True
            return CallToolResult.model_validate(entry.result)
        if entry.state == "begun" and not is_repeatable(tool, call.server):
            raise outcome_unknown(call.server_name, call.tool, "an earlier attempt began it")
        try:
            result = await self._made(call, tool)
        except CallFailedError as failure:
            if failure.code != "mcp-outcome-unknown":
                await journal.forget(key)
            raise
        if result.is_error:
            await journal.forget(key)
        else:
            await journal.finish(key, result.model_dump(mode="json", by_alias=True, exclude_none=True))
        return result

    async def _made(self, call: _Call, tool: Tool) -> CallToolResult:
        repeatable = is_repeatable(tool, call.server)

        async def once() -> CallToolResult:
            session = await self._session(call.caller, call.server_name, call.server)
            found: CallToolResult = await session.call(call.tool, call.arguments, call.key)
            return found

        def may_retry(failure: CallFailedError) -> bool:
            return repeatable or not failure.may_have_acted

        try:
            retries = retries_allowed(call.meta)
            result: CallToolResult = await self._retried(call.server_name, once, may_retry, retries, call, made=True)
        except CallFailedError as failure:
            if failure.may_have_acted and not repeatable:
                raise outcome_unknown(call.server_name, call.tool, failure.code) from failure
            raise
        size = len(json.dumps(result.model_dump(mode="json", by_alias=True, exclude_none=True)))
        if size > call.server.max_bytes:
            raise too_large(call.server_name, call.server.max_bytes)
        return result

    async def _retried(
        self,
        server_name: str,
        act: Callable[[], Awaitable[Any]],
        may_retry: Callable[[CallFailedError], bool],
        retries: int,
        call: _Call | None,
        made: bool = False,
    ) -> Any:
        """Ask a server, again after 1, 2 and 4 s while it is unavailable; each time counts for its breaker.

        :param made: whether this is the call itself; finding its tool counts only if it fails.
        """

        async def guarded() -> Any:
            probe = (call.probe if call is not None else None) or await self.breakers.admit(server_name)
            failed = True
            try:
                answer = await act()
                failed = False
                return answer
            except CallFailedError as failure:
                failed = failure.unavailable
                raise
            finally:
                if failed or call is None or made:
                    await self.breakers.record(server_name, failed=failed, probe=probe)
                if call is not None:
                    call.probe = None if failed or made else probe

        def wanted(error: BaseException) -> bool:
            return isinstance(error, CallFailedError) and error.unavailable and may_retry(error)

        attempts = 0
        try:
            async for attempt in AsyncRetrying(
                stop=stop_after_attempt(retries + 1),
                wait=wait_exponential(multiplier=RETRY_DELAYS[0], max=RETRY_DELAYS[-1]),
                retry=retry_if_exception(wanted),
                sleep=self._sleep,
                reraise=True,
            ):
                with attempt:
                    attempts = attempt.retry_state.attempt_number
                    return await guarded()
        except CallFailedError as failure:
            if failure.unavailable and may_retry(failure):
                raise exhausted(failure, attempts - 1) from failure
            raise
        finally:
            if call is not None:
                call.retries += attempts - 1
        raise AssertionError("unreachable")  # pragma: no cover

    async def _tool(self, call: _Call) -> Tool:
        tools = await self._listed(call.caller, call.server_name, call.server)
        if call.tool in tools:
            return tools[call.tool]
        known = ", ".join(sorted(tools)[:50]) or "none"
        text = f"The server `{call.server_name}` has no tool `{call.tool}` (it has: {known})."
        raise permanent(ExitCode.BAD_CONFIGURATION, "mcp-unknown-tool", f"{text} Correct the SOP or the server.")

    async def _listed(self, caller: Caller, server_name: str, server: HttpServer | StdioServer) -> dict[str, Tool]:
        return await (await self._session(caller, server_name, server)).tools()

    async def _session(self, caller: Caller, server_name: str, server: HttpServer | StdioServer) -> Session:
        return await self.sessions.get((caller.sop, caller.run_id), server_name, server)

    async def _server(self, name: str) -> HttpServer | StdioServer:
        try:
            return await self.servers.server(name)
        except FleetError as error:
            raise permanent(ExitCode.BAD_CONFIGURATION, "fleet", str(error)) from error

    async def _is_as_validated(self, sop: str, server_name: str, tool: Tool) -> bool:
        """Compare with the snapshot; a tool that has none is taken as it is now, for the next time."""
        if self._snapshots is None:
            return True
        definition = definition_of(tool)
        digest = digest_of(definition)
        known = await self._snapshots.digest_of(sop, server_name, tool.name)
        if known is None:
            await self._snapshots.keep(sop, server_name, tool.name, digest, definition)
        return known in (None, digest)

    async def _record(
        self,
        caller: Caller,
        server_name: str,
        tool: str,
        arguments_digest: str,
        call: _Call | None,
        result: CallToolResult | None,
        code: str | None,
        started: float,
    ) -> None:
        content = _content(result) if result is not None and code is None else None
        keep = call is not None and call.server.record_content
        await self._audit.record(
            DataAccess(
                caller=caller,
                server=server_name,
                tool=tool,
                arguments_digest=arguments_digest,
                ok=code is None,
                code=code,
                result_digest=None if code is not None else digest_of(content),
                bytes=None if code is not None else len(json.dumps(content)),
                duration_seconds=time.monotonic() - started,
                retries=call.retries if call is not None else 0,
                replayed=call.replayed if call is not None else False,
                arguments=call.arguments if keep and call is not None else None,
                result=content if keep else None,
            )
        )


def _content(result: CallToolResult) -> Any:
    if result.structured_content is not None:
        return result.structured_content
    return [block.model_dump(mode="json", by_alias=True, exclude_none=True) for block in result.content]


def _as_result(failure: CallFailedError) -> CallToolResult:
    """Return a failure as any MCP client can read it, with what a deterministic step needs in ``_meta``."""
    what = {"type": str(failure.error_type), "exit_code": failure.exit_code, "code": failure.code}
    transient = failure.error_type is ErrorType.TRANSIENT
    meta: Any = {
        ERROR_META: {**what, "details": failure.details},
        **({ERROR_TYPE_META: "transient"} if transient else {}),
    }
    return CallToolResult(content=[TextContent(type="text", text=failure.message)], is_error=True, _meta=meta)
