"""Blots out secrets before an entry is hashed: what is in the log can never be taken out again.

Three ways a secret is known: by the name it stands under, by its form in a text, and by its value. The names are those
Airflow hides, so that users find the same things hidden, and matched as Airflow does: anywhere in the name, in any
case. Beyond Airflow, punctuation does not count (``api-key``, ``apiKey``). Numbers under such a name stay, as
``tokens_used`` is a figure that people audit, except under names of passwords.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

__all__ = ["MASK", "SENSITIVE_NAMES", "Masker", "is_sensitive"]

MASK = "***"
"""What stands in place of a secret, as in Airflow's logs."""

SENSITIVE_NAMES = (
    "accesskey",
    "accesstoken",
    "apikey",
    "authheader",
    "authorization",
    "bearer",
    "connectionstring",
    "cookie",
    "credential",
    "dsn",
    "keyfiledict",
    "passphrase",
    "passwd",
    "password",
    "privatekey",
    "proxies",
    "proxy",
    "secret",
    "serviceaccount",
    "servicekey",
    "token",
    "webhookurl",
)
"""Parts of names, without punctuation and in lower case, whose texts are hidden."""

_ALSO_NUMBERS = ("passphrase", "passwd", "password")
_SHORTEST_SECRET = 4  # shorter values would hit ordinary text

_NAME = r"(?:passw(?:or)?d|passphrase|secret|token|api[_-]?key|access[_-]?key|private[_-]?key)[\w.-]{0,40}"
# Every repetition is bounded or cannot begin twice in one place: hostile texts must not take quadratic time.
_FORMS = (
    # -----BEGIN PRIVATE KEY----- ... (to its end, or the text's when it was cut)
    (re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)", re.DOTALL), MASK),
    # Authorization: Bearer abc
    (re.compile(r"\b(bearer|basic)(\s{1,5})[A-Za-z0-9._~+/=-]{8,}", re.IGNORECASE), rf"\1\2{MASK}"),
    # a JSON Web Token, wherever it stands
    (re.compile(r"(?<![\w-])eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]*"), MASK),
    # postgresql://user:password@host
    (re.compile(r"(\b[a-z][a-z0-9+.-]{0,30}://[^\s/:@]{0,200}:)[^\s/@]{1,500}(?=@)", re.IGNORECASE), rf"\1{MASK}"),
    # password=abc  "api_key": "abc"
    (
        re.compile(rf"({_NAME}[\"']?\s{{0,5}}[=:]\s{{0,5}})(\"[^\"]*\"|'[^']*'|[^\s\"'&,;}}]+)", re.IGNORECASE),
        rf"\1{MASK}",
    ),
)


def is_sensitive(name: str) -> bool:
    """Tell whether the texts under a name are hidden."""
    plain = _plain(name)
    return any(part in plain for part in SENSITIVE_NAMES)


class Masker:
    """Blots out secrets in texts and JSON values.

    :param secrets: values that are secret wherever they stand; those under 4 characters are ignored.
    """

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        known = {secret for secret in secrets if len(secret) >= _SHORTEST_SECRET}
        # the longest first, so that a secret within another does not leave the rest of it
        self._values = re.compile("|".join(map(re.escape, sorted(known, key=len, reverse=True)))) if known else None

    def text(self, text: str) -> str:
        """Return the text without secrets."""
        if self._values is not None:
            text = self._values.sub(MASK, text)
        for form, instead in _FORMS:
            text = form.sub(instead, text)
        return text

    def value(self, value: Any, name: str = "") -> Any:
        """Return a JSON value without secrets, keys included.

        :param name: the key under which it stands.
        """
        if isinstance(value, str):
            return MASK if value and is_sensitive(name) else self.text(value)
        if isinstance(value, dict):
            return {self.text(key): self.value(item, _inner(name, key)) for key, item in value.items()}
        if isinstance(value, list):
            return [self.value(item, name) for item in value]
        if isinstance(value, int | float) and not isinstance(value, bool):
            return MASK if any(part in _plain(name) for part in _ALSO_NUMBERS) else value
        return value


def _inner(name: str, key: str) -> str:
    """Everything within a sensitive object is sensitive."""
    return f"{name}.{key}" if is_sensitive(name) else key


def _plain(name: str) -> str:
    return re.sub(r"[\W_]+", "", name).lower()
