"""The HTTP client for one session with a server: its credentials, nobody's headers, and answers of bounded size.

What a server sends is counted while it is read, before anything parses it: 50 MB of JSON must not become objects first.
"""

from __future__ import annotations

import functools
import ssl
from collections.abc import AsyncIterator

import httpx2

from airflow_sop_provider.fleet.call_failures import HttpTap
from airflow_sop_provider.fleet.credentials import Access
from airflow_sop_provider.fleet.registry import HttpServer

__all__ = ["http_client"]

_CONNECT_SECONDS = 30.0


def http_client(server: HttpServer, access: Access, tap: HttpTap) -> httpx2.AsyncClient:
    """Return a client that is to be closed by the caller; reading is limited by the call's own timeout."""
    return httpx2.AsyncClient(
        headers=dict(access.headers),
        auth=access.auth,
        timeout=httpx2.Timeout(_CONNECT_SECONDS, read=None),
        event_hooks={"response": [tap.response]},
        transport=_Bounded(server.max_bytes, tap),
    )


@functools.cache
def _tls() -> ssl.SSLContext:
    """Certificates are read once: that takes 20 ms and a megabyte, and thousands of sessions need the same."""
    return httpx2.create_ssl_context()


class _Bounded(httpx2.AsyncHTTPTransport):
    def __init__(self, limit: int, tap: HttpTap) -> None:
        super().__init__(verify=_tls())
        self._limit = limit
        self._tap = tap

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        response = await super().handle_async_request(request)
        assert isinstance(response.stream, httpx2.AsyncByteStream)
        response.stream = _BoundedStream(response.stream, self._limit, self._tap)
        return response


class _BoundedStream(httpx2.AsyncByteStream):
    def __init__(self, inner: httpx2.AsyncByteStream, limit: int, tap: HttpTap) -> None:
        self._inner = inner
        self._limit = limit
        self._tap = tap

    async def __aiter__(self) -> AsyncIterator[bytes]:
        read = 0
        async for chunk in self._inner:
            read += len(chunk)
            if read > self._limit:
                self._tap.too_large = self._limit
                raise httpx2.ReadError(f"more than {self._limit} bytes")
            yield chunk

    async def aclose(self) -> None:
        await self._inner.aclose()
