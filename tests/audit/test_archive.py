"""An export verifies anywhere, and whatever was done to it is found."""

from __future__ import annotations

import ast
import hashlib
import io
import json
import subprocess
import sys
import zipfile
from collections import Counter
from dataclasses import replace
from importlib import resources

import pytest

from airflow_sop_provider.audit.archive import ExecutionExport, Proof, build_archive
from airflow_sop_provider.audit.digests import Leaf, path_to_root
from airflow_sop_provider.audit.verifier_script import MODULES
from airflow_sop_provider.audit.verify import UnreadableError, verify_path
from tests.audit.chains import EXECUTION, PUBLIC, chain, finished, lines, rehashed, said, signed


def export(entries=None, covered: int | None = None, **parts) -> ExecutionExport:
    entries = finished() if entries is None else entries
    last = entries[(covered or len(entries)) - 1]
    leaves = [Leaf("a/1", 3, "aa"), Leaf(EXECUTION, last.seq, last.hash), Leaf("z/1", 4, "bb")]
    proof = Proof(signed=signed(leaves), leaf=leaves[1], path=path_to_root(leaves, 1), public_key=PUBLIC)
    given = {
        "execution": EXECUTION,
        "status": "COMPLETED",
        "inputs": {"n": 1},
        "outputs": {"ok": True},
        "document": "sop: pay\n",
        "document_digest": "d",
        "attempts": [{"step": "read", "image": "runner@sha256:ab"}],
        "versions": {"python": "3.11"},
        "entries": entries,
        "proof": proof,
        **parts,
    }
    return ExecutionExport(**given)


def codes(path, data: bytes, **how) -> set[str]:
    path.write_bytes(data)
    return {problem.code for problem in verify_path(path, **how).problems}


def repacked(data: bytes, change) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(buffer, "w") as new:
        parts = {name: old.read(name) for name in old.namelist()}
        change(parts)
        for name, content in parts.items():
            new.writestr(name, content)
    return buffer.getvalue()


def test_it_is_verified_and_reproducible(tmp_path):
    data = build_archive(export())
    assert data == build_archive(export())
    path = tmp_path / "export.zip"
    assert codes(path, data) == codes(path, data, key=PUBLIC) == set()
    report = verify_path(path)
    assert (report.chains, report.entries, report.digests) == (1, 7, 1)
    with zipfile.ZipFile(path) as archive:
        manifest = json.loads(archive.read("manifest.json"))
        assert archive.read("sop.yaml") == b"sop: pay\n"
    assert manifest["images"] == ["runner@sha256:ab"]


def test_the_script_in_it_verifies_it_with_python_alone(tmp_path):
    data = build_archive(export())
    (tmp_path / "export.zip").write_bytes(data)
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        archive.extract("verify.py", tmp_path)
    bad = repacked(data, lambda parts: parts.update({"audit.jsonl": parts["audit.jsonl"].replace(b'"n":1', b'"n":2')}))
    (tmp_path / "bad.zip").write_bytes(bad)

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        program = [sys.executable, "-I", "-S", "verify.py", *arguments]
        return subprocess.run(program, cwd=tmp_path, capture_output=True, text=True, check=False)

    good = run("export.zip", "--key", PUBLIC.hex())
    assert (good.returncode, good.stderr) == (0, "")
    assert "verified: complete and unchanged" in good.stdout
    wrong = run("bad.zip", "--json")
    assert wrong.returncode == 1
    problems = json.loads(wrong.stdout)["problems"]
    assert ("changed", EXECUTION, 4) in {(p["code"], p["execution"], p["seq"]) for p in problems}
    assert run("verify.py").returncode == 2
    assert run("none.zip").returncode == 2
    assert run("export.zip", "--key", "nonsense").returncode == 2


def test_no_two_modules_of_the_script_share_a_name():
    names: Counter[str] = Counter()
    for module in MODULES:
        tree = ast.parse((resources.files("airflow_sop_provider.audit") / f"{module}.py").read_text())
        own = set()
        for node in tree.body:
            if isinstance(node, ast.FunctionDef | ast.ClassDef):
                own.add(node.name)
            elif isinstance(node, ast.Assign):
                own |= {t.id for t in node.targets if isinstance(t, ast.Name)}
            elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
                own.add(node.target.id)
        names.update(own - {"__all__"})
    assert [name for name, count in names.items() if count > 1] == []


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (lambda parts: parts.update({"outputs.json": b"{}"}), "part"),
        (lambda parts: parts.pop("inputs.json"), "part"),
        (lambda parts: parts.update({"extra.txt": b"x"}), "part"),
        (lambda parts: parts.update({"public_key.hex": b"00" * 32}), "signature"),
        (lambda parts: parts.update({"public_key.hex": b"no"}), "signature"),
        (lambda parts: parts.update({"digest.json": b"{}"}), "digest"),
        (lambda parts: parts.update({"proof.json": b'{"leaf":["x"],"path":[]}'}), "digest"),
        (lambda parts: parts.update({"audit.jsonl": b""}), "truncated"),
        (lambda parts: parts.update({"audit.jsonl": parts["audit.jsonl"][:-5]}), "truncated"),
        (lambda parts: parts.update({"audit.jsonl": lines(finished()[:-1])}), "completion-missing"),
    ],
)
def test_a_changed_part_is_found(tmp_path, change, code):
    assert code in codes(tmp_path / "x.zip", repacked(build_archive(export()), change))


def test_who_writes_the_whole_chain_anew_is_found_by_the_digest(tmp_path):
    proof = export().proof
    other = finished(actions=3)
    forged = chain([said(entry.kind, step=entry.step, map_index=entry.map_index, attempt=entry.attempt,
                         message="forged") for entry in other])  # fmt: skip
    assert codes(tmp_path / "x.zip", build_archive(export(forged, proof=proof))) == {"head"}
    last = [*other[:-1], rehashed(other[-1], message="forged")]
    assert codes(tmp_path / "x.zip", build_archive(export(last, proof=proof))) == {"head"}
    shorter = chain([said("start"), said("completion")])
    assert codes(tmp_path / "x.zip", build_archive(export(shorter, proof=proof))) == {"truncated"}


def test_another_key_is_found(tmp_path):
    assert codes(tmp_path / "x.zip", build_archive(export()), key=b"x" * 32) == {"signature"}


def test_a_proof_of_another_execution_is_found(tmp_path):
    entries = chain([said("start"), said("completion")], "pay/2")
    data = build_archive(export(entries, execution="pay/2", proof=export().proof))
    assert "digest" in codes(tmp_path / "x.zip", data)
    assert "foreign" in codes(tmp_path / "x.zip", build_archive(export(entries)))


def test_a_document_that_was_not_executed_is_found(tmp_path):
    executed = chain(
        [said("start", metadata={"digest": hashlib.sha256(b"sop: pay\n").hexdigest()}), said("completion")]
    )
    assert codes(tmp_path / "x.zip", build_archive(export(executed))) == set()
    assert codes(tmp_path / "x.zip", build_archive(export(executed, document="sop: other\n"))) == {"part"}


def test_a_running_execution_is_said_to_be_one(tmp_path):
    path = tmp_path / "x.zip"
    assert codes(path, build_archive(export(finished()[:-2], status="RUNNING", proof=None))) == set()
    notes = " ".join(verify_path(path).notes)
    assert "still running" in notes
    assert "No signed digest" in notes


def test_what_is_newer_than_the_digest_is_said(tmp_path):
    path = tmp_path / "x.zip"
    assert codes(path, build_archive(export(covered=3))) == set()
    assert any("Entries 4 to 7 are newer than digest 1" in note for note in verify_path(path).notes)


@pytest.mark.parametrize("data", [b"hello", b"", b"[]"])
def test_what_is_no_export_is_said(tmp_path, data):
    with pytest.raises(UnreadableError):
        codes(tmp_path / "x", data)


def test_an_archive_of_something_else_is_said(tmp_path):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("x", "y")
    with pytest.raises(UnreadableError, match=r"manifest\.json"):
        codes(tmp_path / "x.zip", buffer.getvalue())


def digest_folder(folder, spoil=lambda number, one: one):
    folder.mkdir(exist_ok=True)
    (folder / "public_key.hex").write_text(PUBLIC.hex())
    entries, previous = finished(), "0" * 64
    for number, seq in enumerate((2, 5, 7), 1):
        leaves = [Leaf(EXECUTION, seq, entries[seq - 1].hash), Leaf("z/1", number, "aa")]
        one = signed(leaves, number, previous)
        previous = one.digest.hash()
        (folder / f"digest-{number:06}.json").write_text(spoil(number, one).to_line())
        text = "".join(
            json.dumps([leaf.execution, leaf.seq, leaf.head], separators=(",", ":")) + "\n" for leaf in leaves
        )
        (folder / f"digest-{number:06}.leaves.jsonl").write_text(text)
    return folder


def test_a_folder_of_digests(tmp_path):
    folder = digest_folder(tmp_path / "digests")
    report = verify_path(folder)
    assert (report.problems, report.digests) == ([], 3)
    (tmp_path / "chain.jsonl").write_bytes(lines(finished()))
    assert verify_path(tmp_path / "chain.jsonl", digests=folder).ok
    entries = finished()
    forged = chain([said(e.kind, step=e.step, map_index=e.map_index, attempt=e.attempt, metadata=e.metadata,
                         message=e.message if e.seq != 4 else "forged") for e in entries])  # fmt: skip
    (tmp_path / "chain.jsonl").write_bytes(lines(forged))
    (problem,) = verify_path(tmp_path / "chain.jsonl", digests=folder).problems
    assert (problem.code, problem.seq) == ("head", 5)
    assert "entries 3 to 5" in problem.message


def test_a_folder_that_was_tampered_with(tmp_path):
    folder = digest_folder(tmp_path / "a")
    (folder / "digest-000002.json").unlink()
    assert {problem.code for problem in verify_path(folder).problems} == {"digest"}
    folder = digest_folder(tmp_path / "b", lambda n, one: replace(one, signature="00" * 64) if n == 2 else one)
    assert {problem.code for problem in verify_path(folder).problems} == {"signature"}
    folder = digest_folder(tmp_path / "c")
    (folder / "digest-000001.leaves.jsonl").write_text("")
    assert {problem.code for problem in verify_path(folder).problems} == {"digest"}
    folder = digest_folder(tmp_path / "d", lambda n, one: signed([], 2) if n == 2 else one)
    assert "digest" in {problem.code for problem in verify_path(folder).problems}
    (tmp_path / "empty").mkdir()
    with pytest.raises(UnreadableError):
        verify_path(tmp_path / "empty")
