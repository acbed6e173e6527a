"""Tokens of pods: what a good one proves, and that no other proves anything."""

from __future__ import annotations

import base64
import hmac
import json
import time
from datetime import UTC, datetime
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization

from airflow_sop_provider.api.pod_tokens import PodTokenError, PodTokenVerifier
from tests.api.token_factory import FakeSource, SigningKey, claims

KEY = SigningKey("one")
ELLIPTIC = SigningKey("two", "ES256")
STRANGER = SigningKey("one")
"""Another key under the same id."""


@pytest.fixture
def source() -> FakeSource:
    return FakeSource(KEY, ELLIPTIC)


@pytest.fixture
def verifier(source: FakeSource) -> PodTokenVerifier:
    return PodTokenVerifier(source, namespaces=["steps"])


def encoded(part: dict[str, Any]) -> str:
    return base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=")


async def refusal(verifier: PodTokenVerifier, token: str) -> str:
    with pytest.raises(PodTokenError) as caught:
        await verifier.verify(token)
    assert len(token) < 100 or token not in str(caught.value)
    return caught.value.code


@pytest.mark.parametrize("key", [KEY, ELLIPTIC], ids=["RSA", "elliptic"])
async def test_a_pods_token_names_its_pod(verifier: PodTokenVerifier, key: SigningKey) -> None:
    until = int(time.time()) + 300
    found = await verifier.verify(key.token(exp=until))
    assert (found.uid, found.name, found.namespace) == ("pod-uid", "sop-a-1", "steps")
    assert found.service_account == "sop-runner"
    assert found.expires_at == datetime.fromtimestamp(until, UTC)


@pytest.mark.parametrize(
    ("changed", "code"),
    [
        ({"exp": int(time.time()) - 60}, "expired"),
        ({"nbf": int(time.time()) + 600}, "not-yet-valid"),
        ({"iat": int(time.time()) + 600, "nbf": None}, "not-yet-valid"),
        ({"aud": ["https://kubernetes.default.svc"]}, "wrong-audience"),
        ({"iss": "https://another.example"}, "wrong-issuer"),
        ({"aud": None}, "malformed"),
        ({"exp": None}, "malformed"),
        ({"iss": None}, "malformed"),
        ({"sub": None}, "malformed"),
        ({"kubernetes.io": None}, "not-a-pod"),
        ({"kubernetes.io": "steps"}, "not-a-pod"),
        ({"kubernetes.io": {"namespace": "steps", "serviceaccount": {"name": "sop-runner"}}}, "not-a-pod"),
        (
            {"kubernetes.io": {"namespace": "steps", "pod": {"name": "", "uid": ""}, "serviceaccount": {"name": "a"}}},
            "not-a-pod",
        ),
        (
            {
                "kubernetes.io": {
                    "namespace": "elsewhere", "pod": {"name": "a", "uid": "b"}, "serviceaccount": {"name": "c"},
                }
            },
            "wrong-namespace",
        ),
    ],
)  # fmt: skip
async def test_a_token_of_somebody_else_or_of_another_time_proves_nothing(verifier, changed, code) -> None:
    assert await refusal(verifier, KEY.token(**changed)) == code


async def test_clocks_may_be_a_little_apart(verifier: PodTokenVerifier) -> None:
    now = int(time.time())
    await verifier.verify(KEY.token(nbf=now + 5, iat=now + 5))
    await verifier.verify(KEY.token(exp=now - 5))


async def test_a_key_with_the_right_name_signs_nothing(verifier: PodTokenVerifier) -> None:
    assert await refusal(verifier, STRANGER.token()) == "bad-signature"


async def test_claims_changed_after_signing_prove_nothing(verifier: PodTokenVerifier) -> None:
    header, _, signature = KEY.token().split(".")
    pod = {"namespace": "steps", "pod": {"name": "x", "uid": "another"}, "serviceaccount": {"name": "sop-runner"}}
    body = encoded(claims(**{"kubernetes.io": pod}))
    assert await refusal(verifier, f"{header}.{body}.{signature}") == "bad-signature"


async def test_neither_unsigned_nor_signed_with_the_public_key_as_a_secret(verifier: PodTokenVerifier) -> None:
    unsigned = jwt.encode(claims(), None, "none", {"kid": "one"})
    assert await refusal(verifier, unsigned) == "malformed"
    public = KEY.private.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    said = ".".join(encoded(part) for part in ({"alg": "HS256", "kid": "one", "typ": "JWT"}, claims()))
    signature = hmac.digest(public, said.encode(), "sha256")
    forged = f"{said}.{base64.urlsafe_b64encode(signature).decode().rstrip('=')}"
    assert await refusal(verifier, forged) == "malformed"


async def test_the_algorithm_is_the_keys_and_not_the_tokens(verifier: PodTokenVerifier) -> None:
    other = jwt.encode(claims(), KEY.private, "RS512", {"kid": "one"})
    assert await refusal(verifier, other) == "malformed"


@pytest.mark.parametrize("text", ["", "a", "a.b.c", "..", "ey", "x" * 9000, "é.é.é"])
async def test_what_is_no_token_is_refused_and_asks_nobody_for_keys(verifier, source: FakeSource, text: str) -> None:
    assert await refusal(verifier, text) == "malformed"
    assert source.fetched == 0


async def test_a_key_that_does_not_exist_is_asked_for_once(verifier, source: FakeSource) -> None:
    for number in range(20):
        assert await refusal(verifier, SigningKey(f"made-up-{number % 2}", "ES256").token()) == "unknown-key"
    assert source.fetched == 1


async def test_without_keys_nobody_is_known_and_trying_again_helps(verifier, source: FakeSource) -> None:
    source.away = True
    with pytest.raises(PodTokenError) as caught:
        await verifier.verify(KEY.token())
    assert caught.value.passing
    assert caught.value.code == "keys-unavailable"


async def test_other_refusals_do_not_pass(verifier: PodTokenVerifier) -> None:
    with pytest.raises(PodTokenError) as caught:
        await verifier.verify(STRANGER.token())
    assert not caught.value.passing
