"""The few calls of the Kubernetes API that attempts need, as JSON.

Thousands of pods change every second: answers stay plain JSON, since the client's models cost ten
times as much to make. The client (`kubernetes_asyncio`) keeps addresses, certificates and credentials.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from typing import Any

import aiohttp
from kubernetes_asyncio.client import ApiClient

from airflow_sop_provider.runtimes.kube_pod import Pod
from airflow_sop_provider.runtimes.pace import Pace

__all__ = ["Connect", "KubeApi", "KubeError"]

log = logging.getLogger(__name__)

Connect = Callable[[], Awaitable[ApiClient]]
"""Makes a client with fresh credentials; called again when the API no longer takes the old ones."""

_TRIES = 6
_FIRST_PAUSE = 0.25
_LONGEST_PAUSE = 8.0
_LONGEST_WISH = 60.0
"""Of a server that says in Retry-After when to ask again."""
_CALLS_PER_SECOND = 200.0
_BURST = 400
"""As a control plane's own components have it; an attempt takes four calls."""
_CALL_SECONDS = 30.0
_CALL_TIMEOUT = aiohttp.ClientTimeout(total=_CALL_SECONDS)
_PAGE = 500
_BUSY = frozenset({408, 425, 429, 500, 502, 503, 504})


class KubeError(Exception):
    """The API refused a call, or did not answer.

    :param status: HTTP status; 0 when there was no answer.
    :param reason: Kubernetes' word for it: ``AlreadyExists``, ``Expired``.
    :param retry_after: seconds after which the API wants to be asked again, 0 if it does not say.
    """

    def __init__(self, status: int, reason: str, message: str, *, retry_after: float = 0.0) -> None:
        super().__init__(message)
        self.status = status
        self.reason = reason
        self.retry_after = retry_after

    @property
    def passing(self) -> bool:
        """Whether the same call may succeed later."""
        return self.status == 0 or self.status in _BUSY


class KubeApi:
    """Pods and Secrets of one namespace.

    :param connect: makes clients.
    :param namespace: of all calls.
    :param concurrency: calls under way at once; a server in trouble is not helped by more.
    :param pace: how fast they may follow each other.
    """

    def __init__(self, connect: Connect, namespace: str, *, concurrency: int = 32, pace: Pace | None = None) -> None:
        self.namespace = namespace
        self._connect = connect
        self._client: ApiClient | None = None
        self._connecting = asyncio.Lock()
        self._slots = asyncio.Semaphore(concurrency)
        self._pace = pace or Pace(_CALLS_PER_SECOND, _BURST)

    async def close(self) -> None:
        """Close the connections."""
        client, self._client = self._client, None
        if client is not None:
            await client.close()

    async def create_pod(self, pod: Pod) -> Pod:
        """Create a pod.

        :raises KubeError: 409 there is one of that name, 403 quota or rights, 422 the pod is not valid.
        """
        return await self._call("POST", "pods", body=pod)

    async def read_pod(self, name: str) -> Pod | None:
        """Return a pod, None if there is none."""
        try:
            return await self._call("GET", f"pods/{name}")
        except KubeError as error:
            if error.status == 404:
                return None
            raise

    async def delete_pod(self, name: str, uid: str, *, grace: int | None = None) -> None:
        """Delete this very pod; nothing happens if it is gone or another has its name."""
        options: dict[str, Any] = {"preconditions": {"uid": uid}}
        if grace is not None:
            options["gracePeriodSeconds"] = grace
        await self._delete(f"pods/{name}", options)

    async def create_secret(self, secret: Mapping[str, Any]) -> None:
        """Create a Secret; one of that name stays as it is."""
        try:
            await self._call("POST", "secrets", body=secret)
        except KubeError as error:
            if error.reason != "AlreadyExists":
                raise

    async def delete_secret(self, name: str) -> None:
        """Delete a Secret; nothing happens if it is gone."""
        await self._delete(f"secrets/{name}", {})

    async def secrets(self, selector: str) -> list[dict[str, Any]]:
        """Return all Secrets with these labels."""
        return (await self._list("secrets", selector))[0]

    async def pods(self, selector: str) -> tuple[list[Pod], str]:
        """Return all pods with these labels, and the version of the list, from which a watch goes on."""
        return await self._list("pods", selector)

    async def watch(self, selector: str, version: str, *, seconds: int) -> AsyncIterator[tuple[str, Pod]]:
        """Follow what happens to pods with these labels: (ADDED, MODIFIED, DELETED or BOOKMARK, pod).

        Ends after ``seconds``, when the server says so.

        :raises KubeError: 410 if ``version`` is too old.
        """
        query = {
            "watch": "true", "labelSelector": selector, "resourceVersion": version,
            "allowWatchBookmarks": "true", "timeoutSeconds": str(seconds),
        }  # fmt: skip
        async with self._open("GET", "pods", query=query, limit=_stream_timeout(seconds + 30)) as answer:
            async for line in _lines(answer):
                event = _event(line)
                if event["type"] == "ERROR":
                    status = event["object"]
                    raise KubeError(int(status.get("code", 500)), status.get("reason", ""), status.get("message", ""))
                yield event["type"], event["object"]

    async def log(
        self, name: str, container: str, *, since: str | None, seconds: float | None = None
    ) -> AsyncIterator[bytes]:
        """Give a container's output; each line begins with the time at which it was written, and a space.

        :param since: RFC 3339; the API looks at whole seconds only, so lines of that second come again.
        :param seconds: follow it for so long, or until it ends; None: what there is.
        :raises KubeError: 404 the pod is gone, 400 the container has not started.
        """
        query = {"container": container, "timestamps": "true"}
        if since is not None:
            query["sinceTime"] = since
        if seconds is not None:
            query["follow"] = "true"
        # who follows holds no slot: those are for calls that end by themselves
        slot: AbstractAsyncContextManager[object] = self._slots if seconds is None else nullcontext()
        try:
            async with (
                slot,
                self._open("GET", f"pods/{name}/log", query=query, limit=_stream_timeout(seconds)) as answer,
            ):
                async for line in _lines(answer):
                    yield line
        except KubeError as error:
            if seconds is None or error.reason != "TimeoutError":
                raise

    # -- how ---------------------------------------------------------------------------------------

    async def _list(self, kind: str, selector: str) -> tuple[list[dict[str, Any]], str]:
        found: list[dict[str, Any]] = []
        query = {"labelSelector": selector, "limit": str(_PAGE)}
        while True:
            page = await self._call("GET", kind, query=query)
            found += page["items"]
            if not (following := page["metadata"].get("continue")):
                return found, page["metadata"]["resourceVersion"]
            query["continue"] = following

    async def _delete(self, path: str, options: Mapping[str, Any]) -> None:
        try:
            await self._call("DELETE", path, body=options)
        except KubeError as error:
            # 409: the precondition; another has the name by now
            if error.status not in (404, 409):
                raise

    async def _call(
        self, verb: str, path: str, *, query: Mapping[str, str] | None = None, body: Mapping[str, Any] | None = None
    ) -> dict[str, Any]:
        """Call and return the answer; a server that is busy or away is asked again for a while."""
        pause = _FIRST_PAUSE
        for remaining in reversed(range(_TRIES)):
            try:
                async with self._slots, self._open(verb, path, query=query, body=body) as answer:
                    content: dict[str, Any] = await answer.json()
                    return content
            except KubeError as error:
                if not (error.passing and remaining):
                    raise
                wish = max(pause, min(error.retry_after, _LONGEST_WISH))
                log.warning("Kubernetes: %s %s: %s; trying again in %g s", verb, path, error, wish)
            await asyncio.sleep(wish)
            pause = min(2 * pause, _LONGEST_PAUSE)
        raise AssertionError("unreachable: the last try returns or raises")

    @asynccontextmanager
    async def _open(
        self,
        verb: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: Mapping[str, Any] | None = None,
        limit: aiohttp.ClientTimeout = _CALL_TIMEOUT,
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        try:
            answer = await self._send(verb, path, query, body, limit)
            if answer.status == 401:
                answer.close()
                await self._forget_credentials()
                answer = await self._send(verb, path, query, body, limit)
            try:
                if answer.status >= 300:
                    raise _error_of(answer, await answer.text())
                yield answer
            finally:
                answer.close()
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            text = f"no answer: {error or type(error).__name__}"
            raise KubeError(0, type(error).__name__, text) from error

    async def _send(
        self,
        verb: str,
        path: str,
        query: Mapping[str, str] | None,
        body: Mapping[str, Any] | None,
        limit: aiohttp.ClientTimeout,
    ) -> aiohttp.ClientResponse:
        client = await self._connected()
        await self._pace.turn()
        answer: aiohttp.ClientResponse = await client.call_api(
            f"/api/v1/namespaces/{self.namespace}/{path}",
            verb,
            query_params=list((query or {}).items()),
            header_params={"Accept": "application/json, */*", "Content-Type": "application/json"},
            body=None if body is None else dict(body),
            auth_settings=["BearerToken"],
            _preload_content=False,
            _request_timeout=limit,
        )
        return answer

    async def _connected(self) -> ApiClient:
        async with self._connecting:
            if self._client is None:
                self._client = await self._connect()
            return self._client

    async def _forget_credentials(self) -> None:
        log.info("Kubernetes no longer takes our credentials; reading them again")
        async with self._connecting:
            old, self._client = self._client, None
        if old is not None:
            await old.close()


def _event(line: bytes) -> dict[str, Any]:
    try:
        event: dict[str, Any] = json.loads(line)
    except ValueError:
        raise KubeError(0, "", "the watch ended within an event") from None
    return event


def _stream_timeout(seconds: float | None) -> aiohttp.ClientTimeout:
    return aiohttp.ClientTimeout(total=seconds, sock_connect=_CALL_SECONDS)


def _error_of(answer: aiohttp.ClientResponse, text: str) -> KubeError:
    wish = answer.headers.get("Retry-After", "")
    after = float(wish) if wish.isdigit() else 0.0
    try:
        body = json.loads(text)
        reason, message = str(body.get("reason") or ""), str(body.get("message") or text)
    except (ValueError, AttributeError):
        reason, message = "", text.strip()[:500] or f"status {answer.status}"
    return KubeError(answer.status, reason, message, retry_after=after)


async def _lines(answer: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
    """Return the lines of a stream; unlike aiohttp's own reader, of any length."""
    rest = bytearray()
    async for chunk in answer.content.iter_any():
        rest += chunk
        *complete, last = rest.split(b"\n")
        for line in complete:
            yield bytes(line)
        rest = bytearray(last)
    if rest:
        yield bytes(rest)
