"""A cluster's signing keys and its tokens, without a cluster. Beside it: tests/kubernetes/test_pod_tokens.py."""

from __future__ import annotations

import json
import time
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from jwt.algorithms import ECAlgorithm, RSAAlgorithm

from airflow_sop_provider.api.pod_keys import KeySet, KeysUnavailableError

__all__ = ["ISSUER", "FakeSource", "SigningKey"]

ISSUER = "https://kubernetes.default.svc"


class SigningKey:
    """A key with an id that signs as a cluster does."""

    def __init__(self, key_id: str, algorithm: str = "RS256") -> None:
        self.key_id, self.algorithm = key_id, algorithm
        elliptic = algorithm.startswith("ES")
        self.private: Any = (
            ec.generate_private_key(ec.SECP256R1()) if elliptic else rsa.generate_private_key(65537, 2048)
        )
        public = self.private.public_key()
        said = ECAlgorithm.to_jwk(public) if elliptic else RSAAlgorithm.to_jwk(public)
        self.jwk = {**json.loads(said), "kid": key_id, "alg": algorithm, "use": "sig"}

    def token(self, *, headers: dict[str, Any] | None = None, **changed: Any) -> str:
        """Return a token; ``changed`` are claims, None for one that is left out."""
        return jwt.encode(claims(**changed), self.private, self.algorithm, {"kid": self.key_id, **(headers or {})})


def claims(**changed: Any) -> dict[str, Any]:
    now = int(time.time())
    values = {
        "aud": ["sop-engine"], "iss": ISSUER, "sub": "system:serviceaccount:steps:sop-runner",
        "iat": now, "nbf": now, "exp": now + 600,
        "kubernetes.io": {
            "namespace": "steps", "node": {"name": "n", "uid": "1"},
            "pod": {"name": "sop-a-1", "uid": "pod-uid"}, "serviceaccount": {"name": "sop-runner", "uid": "2"},
        },
    } | changed  # fmt: skip
    return {name: value for name, value in values.items() if value is not None}


class FakeSource:
    """Keys that a test changes, and how often they were asked for."""

    def __init__(self, *keys: SigningKey) -> None:
        self.keys = list(keys)
        self.fetched = 0
        self.away = False

    async def fetch(self) -> KeySet:
        self.fetched += 1
        if self.away:
            raise KeysUnavailableError("away")
        return KeySet({key.key_id: jwt.PyJWK(key.jwk) for key in self.keys}, ISSUER)
