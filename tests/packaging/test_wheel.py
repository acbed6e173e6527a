"""The wheel installs into an empty environment, and its base is the language and the command line: nothing heavy.

Slow: it builds a wheel and makes an environment with the pinned dependencies.
"""

import json
import os
import subprocess
import sys
import zipfile
from email.parser import HeaderParser
from pathlib import Path

import pytest

from tools.dev.environment import ROOT

pytestmark = pytest.mark.slow

HEAVY = ("airflow", "google", "mcp", "kubernetes", "sqlalchemy", "fastapi")
"""Top-level modules that the base install neither brings nor needs."""


def call(*command, **options) -> str:
    options.setdefault("cwd", "/")  # not the checkout: the installed package is tested
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "VIRTUAL_ENV"))}
    done = subprocess.run(
        [str(part) for part in command], env=environment, capture_output=True, text=True, check=False, **options
    )
    assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    call(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", folder, ROOT)
    [made] = folder.glob("*.whl")
    return made


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory) -> Path:
    """Return the bin folder of an environment with nothing but the wheel and what it asks for."""
    folder = tmp_path_factory.mktemp("base") / "env"
    uv = Path(sys.executable).with_name("uv")
    call(uv, "venv", "--quiet", "--python", sys.executable, folder)
    call(uv, "pip", "install", "--quiet", "--python", folder / "bin" / "python",
         "--constraints", ROOT / "constraints.txt", wheel)  # fmt: skip
    return folder / "bin"


def test_it_holds_the_packages_and_nothing_of_the_workshop(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    tops = {name.split("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"airflow_sop_provider", "dag_factory"}
    assert {"airflow_sop_provider/py.typed", "dag_factory/py.typed"} <= set(names)
    source = [path for path in ROOT.glob("airflow_sop_provider/**/*") if path.is_file() and path.suffix != ".pyc"]
    assert {str(path.relative_to(ROOT)) for path in source} <= set(names), "templates and data files, too"


def test_its_metadata_offers_the_extras(wheel):
    archive = zipfile.ZipFile(wheel)
    [name] = [name for name in archive.namelist() if name.endswith(".dist-info/METADATA")]
    metadata = HeaderParser().parsestr(archive.read(name).decode())
    assert metadata["Name"] == "airflow-sop-provider"
    assert {"airflow", "runner", "agents"} <= set(metadata.get_all("Provides-Extra"))
    unconditional = [text for text in metadata.get_all("Requires-Dist") if "extra ==" not in text]
    assert not [text for text in unconditional if text.startswith(("apache-airflow", "google", "mcp"))]


def test_the_language_needs_no_airflow_and_no_adk(installed):
    script = f"""
import importlib.util, json, sys
present = [name for name in {HEAVY!r} if importlib.util.find_spec(name)]
before = set(sys.modules)
import airflow_sop_provider.sop
loaded = set(sys.modules) - before
print(json.dumps([present, sorted(name for name in loaded if name.split('.')[0] in {HEAVY!r})]))
"""
    assert json.loads(call(installed / "python", "-c", script)) == [[], []]


def test_the_command_works_on_shipped_sops(installed):
    assert "validate" in call(installed / "sop", "--help")
    call(installed / "sop", "validate", ROOT / "sops")
    assert call(installed / "sop", "schema").lstrip().startswith("{")


def test_a_mistake_is_found_by_the_installed_command(installed, tmp_path):
    document = tmp_path / "bad.yaml"
    document.write_text("sop: bad\nversion: 1.0.0\ntitle: Bad\nstepps: []\n")
    done = subprocess.run([installed / "sop", "validate", document], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "steps" in done.stdout + done.stderr


def test_the_provider_describes_itself_without_airflow(installed):
    script = """
from importlib.metadata import entry_points
[entry] = entry_points(group="apache_airflow_provider", name="provider_info")
print(entry.load()()["package-name"])
"""
    assert call(installed / "python", "-c", script).strip() == "airflow-sop-provider"


def test_what_is_not_installed_is_said_in_a_sentence(installed):
    """The runner's program is there in the base install, what it needs is not: no trace, the remedy."""
    done = subprocess.run([installed / "sop-runner"], capture_output=True, text=True, check=False, env={})
    assert done.returncode == 78, done.stderr
    assert "Traceback" not in done.stderr + done.stdout
