"""Which pod a projected service-account token belongs to, found out without asking the cluster for each call.

A runner proves itself with a token that the kubelet puts into its pod and renews (`operators.pod_token`). Four thousand
runners call every few seconds, so their tokens are verified here, with the cluster's public keys, instead of by one
TokenReview each. The price: a pod that was deleted is believed until its token ends, ten minutes at most; whoever maps
the pod's uid to an attempt knows sooner that the attempt is over. Rules: Kubernetes, "Managing Service Accounts",
"Bound service account tokens" (claims ``kubernetes.io``), and RFC 7519.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import jwt

from airflow_sop_provider.api.pod_keys import KeySource, KeysUnavailableError, PodKeys
from airflow_sop_provider.contract.engine_access import ENGINE_AUDIENCE

__all__ = ["PodClaims", "PodTokenError", "PodTokenVerifier"]

_ALGORITHMS = ("RS256", "RS384", "RS512", "ES256", "ES384", "ES512")
"""What a cluster signs with; never ``none``, nor a symmetric one, for which the public key would be the secret."""
_LONGEST = 8192
"""Bytes of a token; a real one has a thousand."""
_LEEWAY_SECONDS = 10.0
"""How far the clocks of cluster and engine may be apart."""
_REQUIRED = ("exp", "iat", "iss", "aud", "sub")


class PodTokenError(Exception):
    """A token that proves nothing; the message says why and never holds the token.

    :param code: ``malformed``, ``unknown-key``, ``expired``, ``not-yet-valid``, ``wrong-audience``, ``wrong-issuer``,
        ``bad-signature``, ``not-a-pod``, ``wrong-namespace``, or ``keys-unavailable``: only there trying again helps.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code

    @property
    def passing(self) -> bool:
        """Whether the same token may be good in a moment: it is the engine that cannot tell."""
        return self.code == "keys-unavailable"


@dataclass(frozen=True, kw_only=True)
class PodClaims:
    """What a verified token says.

    :param uid: of the pod; the identity of an attempt's only instance.
    :param name: of the pod, which is the attempt's name.
    :param expires_at: when the token ends.
    """

    uid: str
    name: str
    namespace: str
    service_account: str
    expires_at: datetime


class PodTokenVerifier:
    """Verifies tokens of the pods of some namespaces.

    :param source: where the cluster's public keys come from.
    :param namespaces: in which steps' pods are. Whoever may make tokens in another namespace of the cluster gets them
        for any audience, so those prove nothing here.
    :param audience: for whom a token has to be.
    """

    def __init__(self, source: KeySource, *, namespaces: Collection[str], audience: str = ENGINE_AUDIENCE) -> None:
        self._keys = PodKeys(source)
        self._namespaces = frozenset(namespaces)
        self._audience = audience

    async def verify(self, token: str) -> PodClaims:
        """Return what a token proves.

        :raises PodTokenError: it proves nothing, or the keys cannot be had now.
        """
        key_id = _key_id(token)
        try:
            keys = await self._keys.with_key(key_id)
        except KeysUnavailableError as error:
            raise PodTokenError("keys-unavailable", f"the cluster's keys cannot be had now: {error}") from error
        key = keys.keys.get(key_id)
        if key is None:
            raise PodTokenError("unknown-key", "the token is signed with a key that this cluster does not have")
        return self._pod_of(_claims(token, key, self._audience, keys.issuer))

    def _pod_of(self, claims: Mapping[str, Any]) -> PodClaims:
        bound: Any = claims.get("kubernetes.io")
        try:
            pod, account = bound["pod"], bound["serviceaccount"]
            found = PodClaims(
                uid=_text(pod["uid"]),
                name=_text(pod["name"]),
                namespace=_text(bound["namespace"]),
                service_account=_text(account["name"]),
                expires_at=datetime.fromtimestamp(claims["exp"], UTC),
            )
        except (KeyError, TypeError, ValueError):
            raise PodTokenError("not-a-pod", "the token is not bound to a pod") from None
        if found.namespace not in self._namespaces:
            raise PodTokenError(
                "wrong-namespace", f"the token is of a pod in namespace `{found.namespace}`, not of a step"
            )
        return found


def _text(value: object) -> str:
    if not isinstance(value, str) or not value:
        raise ValueError("no text")
    return value


def _key_id(token: str) -> str:
    if len(token) > _LONGEST:
        raise PodTokenError("malformed", f"the token has {len(token):,} characters; a pod's has a thousand")
    try:
        header = jwt.get_unverified_header(token)
    except jwt.InvalidTokenError:
        raise PodTokenError("malformed", "this is no token of a service account") from None
    key_id = header.get("kid")
    if header.get("alg") not in _ALGORITHMS or not isinstance(key_id, str) or not key_id:
        raise PodTokenError("malformed", "the token names no key, or an algorithm that no cluster signs with")
    return key_id


def _claims(token: str, key: jwt.PyJWK, audience: str, issuer: str | None) -> dict[str, Any]:
    options: Any = {"require": list(_REQUIRED), "verify_iss": issuer is not None}
    try:
        claims: dict[str, Any] = jwt.decode(
            token, key, algorithms=list(_ALGORITHMS), audience=audience, issuer=issuer, leeway=_LEEWAY_SECONDS,
            options=options,
        )  # fmt: skip
    except jwt.ExpiredSignatureError:
        raise PodTokenError("expired", "the token has ended; read it anew from its file") from None
    except jwt.ImmatureSignatureError:
        raise PodTokenError("not-yet-valid", "the token begins in the future; look at the clocks") from None
    except jwt.InvalidAudienceError:
        raise PodTokenError("wrong-audience", f"the token is not for `{audience}`") from None
    except jwt.InvalidIssuerError:
        raise PodTokenError("wrong-issuer", "the token is of another cluster") from None
    except jwt.InvalidSignatureError:
        raise PodTokenError("bad-signature", "the token's signature is not its key's") from None
    except jwt.InvalidTokenError as error:
        raise PodTokenError("malformed", f"the token lacks what a pod's has: {type(error).__name__}") from None
    return claims
