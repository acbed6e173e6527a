"""Tokens by which runners outside Kubernetes prove to the engine which attempt they are (design, section 7).

A signed statement of the attempt and an end, readable by its runner alone, for the engine's audience only. It opens
nothing of Airflow: the key is derived from Airflow's secret for this one purpose, so neither can be used as the other.
On Kubernetes a pod's own service-account token does this instead.
"""

from __future__ import annotations

import hashlib
import hmac
from datetime import UTC, datetime, timedelta

import jwt

from airflow_sop_provider.contract.attempt import AttemptKey
from airflow_sop_provider.contract.engine_access import ENGINE_AUDIENCE

__all__ = ["ISSUER", "MARGIN", "RunnerTokenError", "attempt_of_token", "key_of_secret", "runner_token"]

ISSUER = "airflow-sop-provider"
MARGIN = timedelta(hours=1)
"""What a token lasts beyond its attempt's time limit: results are sent after the end."""

_LONGEST = timedelta(days=7)
_ALGORITHM = "HS256"
_PURPOSE = b"airflow-sop-provider runner token v1"


class RunnerTokenError(ValueError):
    """The token proves nothing; the message says why and holds nothing of it."""


def key_of_secret(secret: str) -> bytes:
    """Return the signing key that follows from Airflow's secret.

    :raises ValueError: the secret is empty.
    """
    if not secret:
        raise ValueError("[api_auth] jwt_secret is empty: scheduler and API server need the same one")
    return hmac.new(secret.encode(), _PURPOSE, hashlib.sha256).digest()


def runner_token(key: AttemptKey, signing_key: bytes, *, timeout_seconds: float | None, now: datetime) -> str:
    """Return the token of one attempt.

    :param timeout_seconds: the attempt's time limit; without one the token lasts a week.
    """
    lasts = _LONGEST if timeout_seconds is None else min(_LONGEST, timedelta(seconds=timeout_seconds) + MARGIN)
    claims = {
        "iss": ISSUER,
        "aud": ENGINE_AUDIENCE,
        "iat": now,
        "exp": now + lasts,
        "attempt": key.model_dump(mode="json"),
    }
    return jwt.encode(claims, signing_key, algorithm=_ALGORITHM)


def attempt_of_token(token: str, signing_key: bytes, *, now: datetime | None = None) -> AttemptKey:
    """Return the attempt that a token proves.

    :raises RunnerTokenError: it proves none.
    """
    try:
        claims = jwt.decode(
            token,
            signing_key,
            algorithms=[_ALGORITHM],
            audience=ENGINE_AUDIENCE,
            issuer=ISSUER,
            # when it was made says nothing: the clock of who made it may be ahead, or ours was set back since
            options={"require": ["exp", "iat", "iss", "aud"], "verify_exp": False, "verify_iat": False},
        )
        ends = datetime.fromtimestamp(float(claims["exp"]), UTC)
        key = AttemptKey.model_validate(claims["attempt"])
    except (jwt.PyJWTError, KeyError, ValueError) as error:
        raise RunnerTokenError(f"it is not one of ours ({type(error).__name__})") from None
    if ends <= (now or datetime.now(UTC)):
        raise RunnerTokenError("it has expired")
    return key
