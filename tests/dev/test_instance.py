"""A local Airflow's folder: private secrets, a configuration Airflow reads, nothing of another Airflow."""

import configparser
import json
import stat

import pytest

from tools.dev import instance as instance_module
from tools.dev.instance import ADMIN, Instance, InstanceError, component_environment


def mode(path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def configuration(home) -> configparser.ConfigParser:
    parser = configparser.ConfigParser()
    parser.read(home / "airflow.cfg")
    return parser


def test_only_the_owner_reads_secrets(tmp_path):
    home = tmp_path / "home"
    Instance(home=home).prepare()
    assert mode(home) == 0o700
    for name in ("secrets.json", "passwords.json", "airflow.cfg"):
        assert mode(home / name) == 0o600, name


def test_secrets_are_made_once_and_differ_between_folders(tmp_path):
    one, other = Instance(home=tmp_path / "one"), Instance(home=tmp_path / "other")
    for each in (one, other, one):
        each.prepare()
    assert one.password == Instance(home=one.home, port=9999).password
    assert one.password != other.password
    assert json.loads((one.home / "passwords.json").read_text()) == {ADMIN: one.password}
    assert configuration(one.home)["api_auth"]["jwt_secret"] != configuration(other.home)["api_auth"]["jwt_secret"]


def test_everything_listens_on_loopback_and_stays_in_the_folder(tmp_path):
    made = Instance(home=tmp_path, port=8123)
    made.prepare()
    found = configuration(tmp_path)
    assert found["api"]["host"] == "127.0.0.1"
    assert found["core"]["execution_api_server_url"] == "http://127.0.0.1:8123/execution/"
    for section, option in (("database", "sql_alchemy_conn"), ("logging", "base_log_folder"),
                            ("dag_processor", "dag_bundle_storage_path"), ("core", "dags_folder")):  # fmt: skip
        assert str(tmp_path) in found[section][option]


def test_the_bundle_reads_the_folder_of_sops(tmp_path):
    Instance(home=tmp_path, sops=tmp_path / "so%ps").prepare()
    bundles = json.loads(configuration(tmp_path)["dag_processor"]["dag_bundle_config_list"])
    assert [bundle["kwargs"]["path"] for bundle in bundles] == [str(tmp_path / "so%ps")]


def test_overrides_win_and_other_options_stay(tmp_path):
    Instance(home=tmp_path, overrides={"core": {"parallelism": "3"}, "new": {"a": "50%"}}).prepare()
    found = configuration(tmp_path)
    assert found["core"]["parallelism"] == "3"
    assert found["core"]["load_examples"] == "False"
    assert found["new"]["a"] == "50%"


def test_another_airflows_options_are_left_behind(tmp_path, monkeypatch):
    monkeypatch.setenv("AIRFLOW__DATABASE__SQL_ALCHEMY_CONN", "postgresql://production")
    monkeypatch.setenv("AIRFLOW_HOME", "/production")
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    monkeypatch.setenv("KEPT", "1")
    environment = component_environment(tmp_path)
    assert not [name for name in environment if name.startswith("AIRFLOW__")]
    assert environment["AIRFLOW_HOME"] == str(tmp_path)
    assert "PYTHONDONTWRITEBYTECODE" not in environment
    assert environment["KEPT"] == "1"


def test_an_up_to_date_database_is_left_alone(tmp_path, monkeypatch):
    made = Instance(home=tmp_path)
    made.prepare()
    calls = []

    def run(command, **options):
        calls.append(command)
        (tmp_path / "airflow.db").touch()
        return instance_module.subprocess.CompletedProcess(command, 0)

    monkeypatch.setattr(instance_module.subprocess, "run", run)
    assert made.migrate()
    assert not made.migrate()
    (tmp_path / "airflow.db").unlink()
    assert made.migrate()
    assert len(calls) == 2


def test_a_new_migration_of_ours_is_run_although_the_version_is_the_same(tmp_path, monkeypatch):
    checkout = tmp_path / "checkout"
    versions = checkout / "airflow_sop_provider" / "migrations" / "versions"
    versions.mkdir(parents=True)
    monkeypatch.setattr(instance_module, "ROOT", checkout)
    made = Instance(home=tmp_path / "home", sops=tmp_path, fleet=tmp_path)
    before = made._database_identity()
    assert made._database_identity() == before
    (versions / "0002_more.py").write_text("revision = '0002'\n")
    assert made._database_identity() != before


@pytest.mark.parametrize(
    ("error", "remedy"),
    [
        ("sqlite3.OperationalError: disk is full", "make clean"),
        ("ModuleNotFoundError: No module named 'sqlalchemy'", "make distclean"),
    ],
)
def test_a_failed_migration_is_one_sentence(tmp_path, monkeypatch, error, remedy):
    made = Instance(home=tmp_path)
    made.prepare()

    def run(command, stdout, **options):
        stdout.write(f"Traceback (most recent call last):\n{error}\n".encode())
        return instance_module.subprocess.CompletedProcess(command, 1)

    monkeypatch.setattr(instance_module.subprocess, "run", run)
    with pytest.raises(InstanceError, match=f"{error} .*`{remedy}`"):
        made.migrate()


def test_containers_are_given_no_address_of_this_machine_alone(tmp_path):
    assert Instance(home=tmp_path).options()["sop"]["engine_url"].startswith("http://127.0.0.1:")
    pods = Instance(home=tmp_path, overrides={"sop": {"runtime": "kubernetes"}})
    assert "engine_url" not in pods.options()["sop"]
    told = Instance(home=tmp_path, overrides={"sop": {"runtime": "kubernetes", "engine_url": "http://engine/sop"}})
    assert told.options()["sop"]["engine_url"] == "http://engine/sop"
