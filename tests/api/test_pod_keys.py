"""The cluster's public keys: kept, renewed when old, asked for when one is new, good while the cluster is away."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from airflow_sop_provider.api.pod_keys import (
    ASK_AGAIN_SECONDS,
    RENEW_SECONDS,
    ClusterKeySource,
    FileKeySource,
    KeysUnavailableError,
    PodKeys,
)
from airflow_sop_provider.api.pod_tokens import PodTokenError, PodTokenVerifier
from tests.api.token_factory import ISSUER, FakeSource, SigningKey

OLD, NEW = SigningKey("old", "ES256"), SigningKey("new", "ES256")


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def source() -> FakeSource:
    return FakeSource(OLD)


@pytest.fixture
def keys(source: FakeSource, clock: Clock) -> PodKeys:
    return PodKeys(source, clock=clock)


async def test_many_who_ask_at_once_fetch_once(keys: PodKeys, source: FakeSource) -> None:
    found = await asyncio.gather(*(keys.with_key("old") for _ in range(50)))
    assert source.fetched == 1
    assert all("old" in one.keys for one in found)


async def test_a_new_key_is_fetched_when_its_first_token_comes(keys, source: FakeSource, clock: Clock) -> None:
    await keys.with_key("old")
    source.keys = [NEW, OLD]
    clock.now += ASK_AGAIN_SECONDS + 1
    found = await keys.with_key("new")
    assert {"old", "new"} <= set(found.keys)
    assert source.fetched == 2
    await keys.with_key("old")
    assert source.fetched == 2


async def test_a_key_that_was_withdrawn_is_no_longer_believed(keys, source: FakeSource, clock: Clock) -> None:
    await keys.with_key("old")
    source.keys = [NEW]
    clock.now += RENEW_SECONDS - 1
    assert "old" in (await keys.with_key("old")).keys
    clock.now += 2
    assert "old" not in (await keys.with_key("old")).keys


async def test_keys_that_cannot_be_renewed_stay_good_and_are_asked_for_now_and_then(keys, source, clock) -> None:
    await keys.with_key("old")
    source.away = True
    clock.now += RENEW_SECONDS + 1
    for _ in range(10):
        assert "old" in (await keys.with_key("old")).keys
    assert source.fetched == 2
    clock.now += ASK_AGAIN_SECONDS + 1
    source.away = False
    await keys.with_key("old")
    assert source.fetched == 3


async def test_without_any_key_who_asks_is_told_so_until_there_are_some(keys, source, clock) -> None:
    source.away = True
    for _ in range(3):
        with pytest.raises(KeysUnavailableError, match="away"):
            await keys.with_key("old")
    assert source.fetched == 1
    source.away = False
    clock.now += ASK_AGAIN_SECONDS + 1
    assert "old" in (await keys.with_key("old")).keys


# -- where they come from -----------------------------------------------------------------------------


async def test_keys_of_a_file(tmp_path: Path) -> None:
    file = tmp_path / "keys.json"
    source = FileKeySource(file, issuer=ISSUER)
    with pytest.raises(KeysUnavailableError, match="No such file"):
        await source.fetch()
    for nonsense in ("", "[]", "{}", '{"keys": []}', '{"keys": [{"kty": "RSA"}]}'):
        file.write_text(nonsense)
        with pytest.raises(KeysUnavailableError):
            await source.fetch()
    file.write_text(json.dumps({"keys": [OLD.jwk, NEW.jwk]}))
    verifier = PodTokenVerifier(source, namespaces=["steps"])
    assert (await verifier.verify(OLD.token())).uid == "pod-uid"
    with pytest.raises(PodTokenError) as caught:
        await verifier.verify(NEW.token(iss="https://another.example"))
    assert caught.value.code == "wrong-issuer"


async def test_a_file_without_an_issuer_leaves_it_to_the_keys(tmp_path: Path) -> None:
    file = tmp_path / "keys.json"
    file.write_text(json.dumps({"keys": [OLD.jwk]}))
    verifier = PodTokenVerifier(FileKeySource(file), namespaces=["steps"])
    assert (await verifier.verify(OLD.token(iss="https://any.example"))).uid == "pod-uid"


class Client:
    """What `kubernetes_asyncio` is asked for, and its answers by path."""

    def __init__(self, answers: dict[str, tuple[int, str] | Exception]) -> None:
        self.answers = answers
        self.closed = 0

    async def connect(self) -> Any:
        return self

    async def __aenter__(self) -> Client:
        return self

    async def __aexit__(self, *error: object) -> None:
        self.closed += 1

    async def call_api(self, path: str, verb: str, **options: Any) -> Any:
        answer = self.answers[path]
        if isinstance(answer, Exception):
            raise answer

        class Answer:
            status = answer[0]

            async def text(self) -> str:
                return answer[1]

        return Answer()


def cluster(**changed: tuple[int, str] | Exception) -> Client:
    discovery = {"issuer": ISSUER, "jwks_uri": "https://10.0.0.1/openid/v1/jwks"}
    return Client({
        "/.well-known/openid-configuration": changed.get("discovery", (200, json.dumps(discovery))),
        "/openid/v1/jwks": changed.get("keys", (200, json.dumps({"keys": [OLD.jwk]}))),
    })  # fmt: skip


async def test_keys_of_a_cluster_with_its_issuer() -> None:
    client = cluster()
    found = await ClusterKeySource(client.connect).fetch()
    assert (set(found.keys), found.issuer, client.closed) == ({"old"}, ISSUER, 1)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"keys": (403, "{}")}, "system:service-account-issuer-discovery"),
        ({"keys": (200, "<html>")}, "JSON"),
        ({"keys": OSError("no route")}, "OSError"),
        ({"discovery": (200, "[]")}, "JSON"),
    ],
)
async def test_a_cluster_that_does_not_give_its_keys(changed: Any, said: str) -> None:
    client = cluster(**changed)
    with pytest.raises(KeysUnavailableError, match=said):
        await ClusterKeySource(client.connect).fetch()
    assert client.closed == 1
