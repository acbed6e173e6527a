"""Keys and certificates of a cluster of one's own: one authority, and a certificate for each part and person."""

from __future__ import annotations

import base64
import ipaddress
import json
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from tools.cluster.layout import NODE_ADDRESS, NODE_NAME, Layout

__all__ = ["make_certificates"]

_DAYS = 3650
_SERVER_NAMES = ("localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc")
_SERVER_ADDRESSES = ("127.0.0.1", NODE_ADDRESS, "10.96.0.1")
_CLIENTS = {
    "admin": ("admin", "system:masters"),
    "kube-controller-manager": ("system:kube-controller-manager", None),
    "kube-scheduler": ("system:kube-scheduler", None),
    "kubelet": (f"system:node:{NODE_NAME}", "system:nodes"),
    "apiserver-kubelet-client": ("kube-apiserver-kubelet-client", "system:masters"),
}
"""Name -> (common name, organisation): what Kubernetes takes as user and group."""

_Key = ec.EllipticCurvePrivateKey


def make_certificates(layout: Layout) -> None:
    """Make what is missing; existing ones stay, so that kubeconfigs go on working."""
    folder = layout.certificates
    if (folder / "complete").exists():
        return
    authority_key = ec.generate_private_key(ec.SECP256R1())
    authority = _certificate("sop-cluster", None, authority_key, None, authority_key)
    _write(folder / "ca.crt", _pem(authority))
    server_names = [*(x509.DNSName(name) for name in _SERVER_NAMES), *map(_address, _SERVER_ADDRESSES)]
    _issue(folder, "apiserver", ("kube-apiserver", None), authority, authority_key, server_names)
    for name, subject in _CLIENTS.items():
        names = [x509.DNSName(NODE_NAME), _address(NODE_ADDRESS)] if name == "kubelet" else []
        _issue(folder, name, subject, authority, authority_key, names)
        _kubeconfig(layout, name)
    # service-account tokens are signed with a key of their own; RSA, which every client understands
    accounts = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    _write(folder / "service-accounts.key", _private(accounts))
    public = accounts.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    _write(folder / "service-accounts.pub", public)
    _write(folder / "complete", b"")


def _issue(
    folder: Path,
    name: str,
    subject: tuple[str, str | None],
    authority: x509.Certificate,
    authority_key: _Key,
    names: list[x509.GeneralName],
) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    common, organisation = subject
    certificate = _certificate(common, organisation, key, authority, authority_key, names)
    _write(folder / f"{name}.crt", _pem(certificate))
    _write(folder / f"{name}.key", _private(key))


def _certificate(
    common: str,
    organisation: str | None,
    key: _Key,
    authority: x509.Certificate | None,
    authority_key: _Key,
    names: list[x509.GeneralName] | None = None,
) -> x509.Certificate:
    parts = [x509.NameAttribute(NameOID.COMMON_NAME, common)]
    if organisation is not None:
        parts.append(x509.NameAttribute(NameOID.ORGANIZATION_NAME, organisation))
    subject, now = x509.Name(parts), datetime.now(UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject if authority is None else authority.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(minutes=5))
        .not_valid_after(now + timedelta(days=_DAYS))
        .add_extension(x509.BasicConstraints(ca=authority is None, path_length=None), critical=True)
    )
    if authority is not None:
        usage = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH])
        builder = builder.add_extension(usage, critical=False)
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    return builder.sign(authority_key, hashes.SHA256())


def _kubeconfig(layout: Layout, name: str) -> None:
    folder = layout.certificates
    data = {
        kind: base64.b64encode((folder / kind).read_bytes()).decode()
        for kind in ("ca.crt", f"{name}.crt", f"{name}.key")
    }
    cluster = {"server": layout.api_url, "certificate-authority-data": data["ca.crt"]}
    user = {"client-certificate-data": data[f"{name}.crt"], "client-key-data": data[f"{name}.key"]}
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "sop", "cluster": cluster}],
        "users": [{"name": name, "user": user}],
        "contexts": [{"name": "sop", "context": {"cluster": "sop", "user": name}}],
        "current-context": "sop",
    }
    _write(layout.config(f"{name}.kubeconfig"), json.dumps(document, indent=1).encode())


def _address(text: str) -> x509.IPAddress:
    return x509.IPAddress(ipaddress.ip_address(text))


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def _private(key: _Key | rsa.RSAPrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _write(path: Path, content: bytes) -> None:
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as stream:
        stream.write(content)
