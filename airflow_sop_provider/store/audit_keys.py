"""The key that signs digests: a file that only the engine's user reads, or a secret of the configuration."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from airflow_sop_provider.audit.digests import Digest, SignedDigest, key_id_of

__all__ = ["KeyFileError", "SigningKey"]

_SEED_BYTES = 32
_OTHERS = 0o077


class KeyFileError(RuntimeError):
    """The key cannot be used; the message says why and what to do."""


@dataclass(frozen=True)
class SigningKey:
    """An Ed25519 key; its text never appears in a representation."""

    _private: Ed25519PrivateKey

    @classmethod
    def from_secret(cls, text: str) -> SigningKey:
        """Return the key of a secret: 64 hex digits.

        :raises KeyFileError: it is none.
        """
        try:
            return cls(Ed25519PrivateKey.from_private_bytes(bytes.fromhex(text.strip())))
        except ValueError:
            raise KeyFileError("The audit log's signing key is not 64 hex digits.") from None

    @classmethod
    def load_or_create(cls, path: Path) -> SigningKey:
        """Return the key of a file; one that is not there is made, with a new key and mode 0600.

        :raises KeyFileError: it is readable by others, or holds no key.
        """
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError:
            if path.stat().st_mode & _OTHERS:
                raise KeyFileError(f"{path} can be read by others: chmod 600 it, or make a new key.") from None
            return cls.from_secret(path.read_text())
        with open(descriptor, "w") as file:
            file.write(os.urandom(_SEED_BYTES).hex())
            file.flush()
            os.fsync(file.fileno())
        return cls.from_secret(path.read_text())

    @property
    def public(self) -> bytes:
        """The public key, 32 bytes."""
        return self._private.public_key().public_bytes_raw()

    @property
    def id(self) -> str:
        """The public key's short name."""
        return key_id_of(self.public)

    def sign(self, digest: Digest) -> SignedDigest:
        """Sign a digest."""
        return SignedDigest(digest, self._private.sign(digest.body()).hex())
