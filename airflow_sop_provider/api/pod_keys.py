"""The public keys a cluster signs service-account tokens with: fetched, kept, renewed.

Kubernetes publishes them for verifiers (KEP-1393, "Service account issuer discovery"); the role that reads them,
``system:service-account-issuer-discovery``, is every service account's by default. An administrator may also put them
into a file, for an engine that cannot reach the cluster.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import jwt

from airflow_sop_provider.runtimes.kube_api import Connect

__all__ = ["ClusterKeySource", "FileKeySource", "KeySet", "KeySource", "KeysUnavailableError", "PodKeys"]

log = logging.getLogger(__name__)

RENEW_SECONDS = 600.0
"""After which keys are fetched again, so that a key that was withdrawn is no longer believed."""
ASK_AGAIN_SECONDS = 10.0
"""Between two fetches for a key that is not there: anybody can send tokens that name keys which do not exist."""
_CALL_SECONDS = 10.0
_DISCOVERY = "/.well-known/openid-configuration"
_KEYS = "/openid/v1/jwks"


class KeysUnavailableError(Exception):
    """The keys cannot be had now; the message says why."""


@dataclass(frozen=True)
class KeySet:
    """Public keys by their ids, and who signs with them.

    :param issuer: what ``iss`` of a token has to be; None where nobody says: the keys decide alone.
    """

    keys: Mapping[str, jwt.PyJWK]
    issuer: str | None


class KeySource(Protocol):
    """Where keys come from."""

    async def fetch(self) -> KeySet:
        """Return the keys as they are now.

        :raises KeysUnavailableError: they cannot be had.
        """


class FileKeySource:
    """Keys of a file: a JSON Web Key Set, as ``kubectl get --raw /openid/v1/jwks`` prints it.

    :param issuer: see `KeySet`.
    """

    def __init__(self, path: Path, *, issuer: str | None = None) -> None:
        self._path, self._issuer = path, issuer

    async def fetch(self) -> KeySet:
        """Return the keys; see `KeySource.fetch`."""
        try:
            text = await asyncio.to_thread(self._path.read_text)
        except OSError as error:
            raise KeysUnavailableError(f"{self._path}: {error.strerror}") from error
        return _key_set(text, self._issuer)


class ClusterKeySource:
    """Keys of the cluster that ``connect`` finds, with its credentials, read anew for each fetch."""

    def __init__(self, connect: Connect) -> None:
        self._connect = connect

    async def fetch(self) -> KeySet:
        """Return the keys; see `KeySource.fetch`."""
        try:
            async with asyncio.timeout(_CALL_SECONDS), await self._connect() as client:
                discovery, keys = await _get(client, _DISCOVERY), await _get(client, _KEYS)
        except KeysUnavailableError:
            raise
        except Exception as error:  # whatever a client, its plugins for credentials or the network raise
            raise KeysUnavailableError(f"the cluster does not answer ({type(error).__name__})") from error
        issuer = _document(discovery).get("issuer")
        return _key_set(keys, issuer if isinstance(issuer, str) else None)


class PodKeys:
    """The keys of a source, kept; used from one event loop.

    :param clock: seconds that only grow.
    """

    def __init__(self, source: KeySource, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._source, self._clock = source, clock
        self._known: KeySet | None = None
        self._tried = self._fetched = float("-inf")
        self._problem: KeysUnavailableError | None = None
        self._fetching = asyncio.Lock()

    async def with_key(self, key_id: str) -> KeySet:
        """Return the keys, fetched again if they are old or lack this one.

        Keys that could not be renewed stay good: a cluster whose API is away for a while must not stop its runners.

        :raises KeysUnavailableError: there are none yet, and none can be had.
        """
        if self._is_due(key_id):
            async with self._fetching:
                if self._is_due(key_id):  # the one before us has not fetched it either
                    await self._fetch()
        if self._known is None:
            raise self._problem or KeysUnavailableError("they were not fetched yet")
        return self._known

    def _is_due(self, key_id: str) -> bool:
        now = self._clock()
        lacking = self._known is None or key_id not in self._known.keys
        old = now - self._fetched > RENEW_SECONDS
        return (lacking or old) and now - self._tried > ASK_AGAIN_SECONDS

    async def _fetch(self) -> None:
        try:
            self._known = await self._source.fetch()
            self._fetched, self._problem = self._clock(), None
        except KeysUnavailableError as error:
            self._problem = error
            log.warning("the cluster's public keys could not be fetched: %s", error)
        finally:
            self._tried = self._clock()


async def _get(client: Any, path: str) -> str:
    answer = await client.call_api(path, "GET", auth_settings=["BearerToken"], _preload_content=False)
    text: str = await answer.text()
    if answer.status != 200:
        raise KeysUnavailableError(
            f"the cluster answers {answer.status} to {path}; bind the role system:service-account-issuer-discovery"
        )
    return text


def _document(text: str) -> dict[str, Any]:
    try:
        document = json.loads(text)
    except ValueError:
        document = None
    if not isinstance(document, dict):
        raise KeysUnavailableError("what should be a JSON object is none")
    return document


def _key_set(text: str, issuer: str | None) -> KeySet:
    try:
        keys = jwt.PyJWKSet.from_dict(_document(text)).keys
    except jwt.PyJWTError as error:
        raise KeysUnavailableError(f"no JSON Web Key Set with a usable key: {error}") from error
    return KeySet({key.key_id: key for key in keys if key.key_id}, issuer)
