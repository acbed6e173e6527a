"""Airflow finds what the distribution offers: provider, options, executor, plugin and policy.

One process of Airflow answers for all, because each takes seconds to start.
"""

import json
import os
import subprocess
import sys
from importlib.metadata import distribution

import pytest

QUESTIONS = """
import json
from airflow.providers_manager import ProvidersManager
from airflow import settings
from airflow.configuration import conf
from airflow import plugins_manager
import airflow_sop_provider.policies

manager = ProvidersManager()
providers = manager.providers
plugins = plugins_manager._get_plugins()[0]
hooks = settings.get_policy_plugin_manager().hook.task_instance_mutation_hook.get_hookimpls()
print("ANSWER" + json.dumps({
    "provider": providers["airflow-sop-provider"].version,
    "executors": list(manager.executor_class_names),
    "option": conf.get("sop", "refresh_seconds"),
    "plugin": [plugin.name for plugin in plugins],
    "timetables": [name for name in plugins_manager.get_timetables_plugins()],
    "policies": [hook.plugin.__name__ for hook in hooks],
    "policy_is_active": not settings.task_instance_mutation_hook.is_noop,
}))
"""


@pytest.fixture(scope="module")
def answers(tmp_path_factory) -> dict:
    home = tmp_path_factory.mktemp("home")
    environment = {**os.environ, "AIRFLOW_HOME": str(home)}
    done = subprocess.run(
        [sys.executable, "-c", QUESTIONS], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout.rpartition("ANSWER")[2])


def test_every_entry_point_leads_somewhere():
    ours = distribution("airflow-sop-provider").entry_points
    groups = {entry.group for entry in ours}
    assert groups == {"apache_airflow_provider", "airflow.plugins", "airflow.policy", "console_scripts"}
    for entry in ours:
        assert entry.load() is not None, entry


@pytest.mark.slow
def test_airflow_lists_the_provider(answers):
    from airflow_sop_provider import __version__

    assert answers["provider"] == __version__


@pytest.mark.slow
def test_airflow_finds_the_executor(answers):
    assert "airflow_sop_provider.executors.sop_executor.SopExecutor" in answers["executors"]


@pytest.mark.slow
def test_airflow_knows_its_options(answers):
    assert int(answers["option"]) > 0


@pytest.mark.slow
def test_airflow_loads_the_plugin(answers):
    assert "sop" in answers["plugin"]


@pytest.mark.slow
def test_airflow_asks_the_policy(answers):
    assert "airflow_sop_provider.policies" in answers["policies"]
    assert answers["policy_is_active"]
