"""Signatures, trees, and digests that follow one another."""

from __future__ import annotations

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_sop_provider.audit import ed25519
from airflow_sop_provider.audit.canonical import NotCanonicalError
from airflow_sop_provider.audit.digests import Leaf, SignedDigest, climbs_to, path_to_root, root_of
from tests.audit.chains import KEY, PUBLIC, signed

# RFC 8032, section 7.1: public key, message, signature
VECTORS = [
    (
        "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
        "",
        "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e06522490155"
        "5fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b",
    ),
    (
        "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
        "72",
        "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da"
        "085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00",
    ),
    (
        "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025",
        "af82",
        "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac"
        "18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a",
    ),
]


@pytest.mark.parametrize(("key", "message", "signature"), VECTORS)
def test_the_vectors_of_the_rfc(key, message, signature):
    assert ed25519.verify(bytes.fromhex(key), bytes.fromhex(message), bytes.fromhex(signature))
    assert not ed25519.verify(bytes.fromhex(key), bytes.fromhex(message) + b"x", bytes.fromhex(signature))


@settings(max_examples=100)
@given(
    secret=st.binary(min_size=32, max_size=32),
    message=st.binary(max_size=200),
    bit=st.none() | st.integers(0, 64 * 8 - 1),
)
def test_it_agrees_with_cryptography(secret, message, bit):
    private = Ed25519PrivateKey.from_private_bytes(secret)
    public, signature = private.public_key(), bytearray(private.sign(message))
    if bit is not None:
        signature[bit // 8] ^= 1 << bit % 8
    try:
        public.verify(bytes(signature), message)
        expected = True
    except InvalidSignature:
        expected = False
    assert expected is (bit is None)
    assert ed25519.verify(public.public_bytes_raw(), message, bytes(signature)) is expected


def test_what_is_no_key_and_no_signature_is_refused():
    signature = KEY.sign(b"x")
    assert ed25519.verify(PUBLIC, b"x", signature)
    order = 2**252 + 27742317777372353535851937790883648493
    larger = signature[:32] + (int.from_bytes(signature[32:], "little") + order).to_bytes(32, "little")
    for key, bad in [(PUBLIC[1:], signature), (PUBLIC, signature[1:]), (b"\xff" * 32, signature), (PUBLIC, larger)]:
        assert not ed25519.verify(key, b"x", bad)


LEAVES = st.lists(st.text(max_size=5), min_size=1, max_size=20, unique=True).map(
    lambda names: [Leaf(name, number, "ab") for number, name in enumerate(sorted(names), 1)]
)


@settings(max_examples=100)
@given(leaves=LEAVES, data=st.data())
def test_each_leaf_climbs_to_the_root_and_no_other_does(leaves, data):
    index = data.draw(st.integers(0, len(leaves) - 1))
    path, root = path_to_root(leaves, index), root_of(leaves)
    assert climbs_to(leaves[index], path, root)
    assert not climbs_to(Leaf(leaves[index].execution, leaves[index].seq + 1, "ab"), path, root)
    assert not climbs_to(leaves[index], [*path, "l" + "00" * 32], root)
    assert not climbs_to(leaves[index], [*path, "lxx"], root)


def test_an_empty_tree_has_a_root():
    assert len(root_of([])) == 64


def test_a_digest_is_its_line():
    one = signed([Leaf("a", 1, "ab")])
    assert SignedDigest.from_line(one.to_line()) == one
    assert one.is_signed_by(PUBLIC)
    assert not one.is_signed_by(PUBLIC[::-1])
    assert not SignedDigest(one.digest, "zz").is_signed_by(PUBLIC)
    for line in ["{}", "[]", '{"digest":{},"signature":""}', one.to_line().replace("digest/v1", "digest/v2")]:
        with pytest.raises(NotCanonicalError):
            SignedDigest.from_line(line)
