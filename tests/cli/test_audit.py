"""`sop audit verify` says what is wrong with a log, in words and as JSON, and by its exit code."""

from __future__ import annotations

import json

from airflow_sop_provider.audit.archive import build_archive
from tests.audit.chains import EXECUTION, PUBLIC, finished, lines
from tests.audit.test_archive import digest_folder, export


def test_an_export_is_verified(sop, tmp_path):
    path = tmp_path / "export.zip"
    path.write_bytes(build_archive(export()))
    result = sop("audit", "verify", str(path), "--key", PUBLIC.hex())
    assert (result.returncode, result.stderr) == (0, "")
    assert "7 entries of 1 chain(s), 1 digest(s): verified: complete and unchanged" in result.stdout


def test_a_chain_is_compared_with_digests_and_problems_are_named(sop, tmp_path):
    path = tmp_path / "audit.jsonl"
    path.write_bytes(lines(finished()[:-1]))
    folder = digest_folder(tmp_path / "digests")
    (tmp_path / "key.hex").write_text(PUBLIC.hex())
    arguments = ("audit", "verify", str(path), "--digests", str(folder), "--key", str(tmp_path / "key.hex"))
    result = sop(*arguments, "--json")
    assert result.returncode == 1
    report = json.loads(result.stdout)
    assert not report["ok"]
    assert {(p["code"], p["execution"]) for p in report["problems"]} == {
        ("completion-missing", EXECUTION),
        ("truncated", EXECUTION),
    }
    assert f"PROBLEM  {EXECUTION} entry 6: A digest saw entry 7; the chain ends here." in sop(*arguments).stdout


def test_what_cannot_be_verified_is_an_error(sop, tmp_path):
    path = tmp_path / "x"
    path.write_text("hello")
    result = sop("audit", "verify", str(path))
    assert result.returncode == 1
    assert "neither an export nor" in result.stderr
    assert "neither a public key" in sop("audit", "verify", str(path), "--key", "zz").stderr
