"""The SOPs in sops/: valid, of the promised shapes, and right on data whose answer is known."""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path
from typing import Any

import pytest

from airflow_sop_provider.sop import LoadedSop, load_sop
from tests.cli.helpers import ROOT
from tests.cli.walk import Walk

SOPS = sorted((ROOT / "sops").glob("*.yaml"))


def load(name: str) -> LoadedSop:
    return load_sop(ROOT / "sops" / f"{name}.yaml")


def install(folder: Path, name: str, *fields: str, version: str = "1.0", recorded: bool = True) -> Path:
    """Install a distribution of one module; return the module's path."""
    module = folder / f"{name}.py"
    module.write_text(f"NAME = {name!r}\n")
    info = folder / f"{name}-{version}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(
        "\n".join(["Metadata-Version: 2.4", f"Name: {name}", f"Version: {version}", *fields])
    )
    if recorded:
        digest = base64.urlsafe_b64encode(hashlib.sha256(module.read_bytes()).digest()).rstrip(b"=").decode()
        (info / "RECORD").write_text(f"{name}.py,sha256={digest},{module.stat().st_size}\n{info.name}/RECORD,,\n")
    return module


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """Return an environment whose licences cover every verdict of the policy."""
    folder = tmp_path / "site-packages"
    folder.mkdir()
    install(folder, "permissive", "License-Expression: MIT")
    install(folder, "classified", "Classifier: License :: OSI Approved :: BSD License")
    install(folder, "weak", "License-Expression: MPL-2.0")
    return folder


@pytest.mark.parametrize("path", SOPS, ids=lambda path: path.stem)
def test_every_shipped_sop_is_valid_and_named_as_its_file(path: Path) -> None:
    assert load_sop(path).sop.sop == path.stem


def test_the_shapes_are_those_promised() -> None:
    chain, diamond = load("interpreter-support-review").graph, load("critical-package-review").graph
    assert all(len(chain.dependents(step)) <= 1 and len(chain.prerequisites(step)) <= 1 for step in chain.step_ids)
    assert diamond.dependents("scope") == ("licences", "files")
    assert diamond.prerequisites("join") == ("licences", "files")
    for name, step in (("software-licence-review", "licences"), ("package-integrity-review", "verify")):
        assert load(name).sop.step(step).for_each is not None
    branch = load("version-drift-review").sop
    assert branch.step("confirm").when is not None
    assert branch.step("inspect").when is not None
    assert [undo.after for undo in load("evidence-publication").sop.rollback] == ["publish"]
    assert load("dependency-exception-signoff").sop.step("sign_off").approval is not None
    modes = {path.stem: load_sop(path).mode.mode for path in SOPS}
    assert {name for name, mode in modes.items() if mode == "agent_centric"} == {"package-brief"}


def licence_report(site: Path | None, **inputs: Any) -> dict[str, Any]:
    report: dict[str, Any] = Walk(load("software-licence-review"), site, **inputs).run()["report"]
    return report


def names(packages: list[dict[str, Any]]) -> list[str]:
    return [package["name"] for package in packages]


def test_licence_review_sends_known_and_unknown_licences_to_a_person(site: Path) -> None:
    install(site, "silent")
    report = licence_report(site, group_size=3)
    assert (report["verdict"], report["distributions"], report["allowed"]) == ("needs-review", 4, 2)
    assert (names(report["needs_review"]), names(report["unknown"]), report["denied"]) == (["weak"], ["silent"], [])


def test_licence_review_rejects_a_forbidden_licence(site: Path) -> None:
    install(site, "copyleft", "License-Expression: AGPL-3.0-only")
    report = licence_report(site, group_size=2)
    assert (report["verdict"], names(report["denied"])) == ("rejected", ["copyleft"])


def test_licence_review_approves_what_the_policy_allows(site: Path) -> None:
    report = licence_report(site, allow=["MIT", "BSD License", "MPL-2.0"], needs_review=[])
    assert (report["verdict"], report["allowed"], report["examined"]) == ("approved", 3, 3)


def test_every_licence_stands_on_one_list_of_the_default_policy() -> None:
    inputs = load("software-licence-review").sop.inputs
    allow, deny, review = (set(inputs[name]["default"]) for name in ("allow", "deny", "needs_review"))
    assert not allow & deny
    assert not review & (allow | deny)


def test_integrity_review_finds_intact_files(site: Path) -> None:
    report = Walk(load("package-integrity-review"), site, batch_size=2).run()["report"]
    assert (report["verdict"], report["distributions"], report["files"]) == ("intact", 3, 3)


def test_integrity_review_finds_a_modified_a_missing_and_an_unrecorded_file(site: Path) -> None:
    install(site, "unrecorded", recorded=False)
    assert Walk(load("package-integrity-review"), site).run()["report"]["verdict"] == "unverifiable"
    (site / "weak.py").write_text("NAME = 'wea k'\n")
    (site / "permissive.py").unlink()
    report = Walk(load("package-integrity-review"), site).run()["report"]
    assert report["verdict"] == "altered"
    assert [(found["name"], found["mismatched"]) for found in report["mismatched"]] == [("weak", ["weak.py"])]
    assert [(found["name"], found["missing"]) for found in report["missing"]] == [("permissive", ["permissive.py"])]
    assert report["unrecorded"] == ["unrecorded"]


@pytest.mark.parametrize(
    ("last_day", "verdict"), [("2026-06-01", "supported"), ("2026-05-31", "expired"), (None, "unknown")]
)
def test_interpreter_review_compares_with_the_day_of_the_run(last_day: str | None, verdict: str) -> None:
    import platform

    series = ".".join(platform.python_version_tuple()[:2])
    table = {} if last_day is None else {series: last_day}
    report = Walk(load("interpreter-support-review"), None, end_of_support=table).run()["report"]
    assert (report["verdict"], report["series"]) == (verdict, series)


@pytest.mark.parametrize(
    ("packages", "verdict"),
    [
        (["permissive", "weak", "weak"], "sound"),
        (["permissive", "silent"], "unlicensed"),
        (["permissive", "gone"], "unsound"),
    ],
)
def test_critical_packages_are_judged_by_both_branches(site: Path, packages: list[str], verdict: str) -> None:
    install(site, "silent")
    report = Walk(load("critical-package-review"), site, packages=packages).run()["report"]
    assert report["verdict"] == verdict


def test_version_drift_takes_one_branch_or_the_other(site: Path) -> None:
    same = Walk(load("version-drift-review"), site, package="weak", approved_version="1.0")
    assert same.run()["report"]["files_intact"] == "not examined"
    assert (same.states["confirm"], same.states["inspect"]) == ("succeeded", "skipped")
    drifted = Walk(load("version-drift-review"), site, package="weak", approved_version="0.9")
    assert drifted.run()["report"] == {
        "verdict": "drifted", "package": "weak", "approved": "0.9", "installed": "1.0", "files_intact": True,
    }  # fmt: skip
    assert (drifted.states["confirm"], drifted.states["inspect"]) == ("skipped", "succeeded")


@pytest.mark.slow
def test_the_default_licence_policy_on_this_environment_agrees_with_its_metadata() -> None:
    from airflow_sop_provider.fleet.servers.distributions import Environment, licence_of

    environment = Environment()
    found, _ = environment.select(environment.names)
    stated = [licence_of(distribution).licence for distribution in found]
    defaults = {name: schema["default"] for name, schema in load("software-licence-review").sop.inputs.items()}
    report = licence_report(None)
    assert report["distributions"] == report["examined"] == len(stated)
    assert report["allowed"] == sum(licence in defaults["allow"] for licence in stated)
    assert len(report["denied"]) == sum(licence in defaults["deny"] for licence in stated)
    assert len(report["needs_review"]) == sum(licence in defaults["needs_review"] for licence in stated)
