"""The tab `Attempts`: each try with its reason, for who may see the run, and nothing of it becomes markup."""

from __future__ import annotations

from urllib.parse import quote

from airflow.utils.session import create_session

from airflow_sop_provider.contract.attempt import AttemptKey
from airflow_sop_provider.plugins.engine_app import MOUNT
from airflow_sop_provider.plugins.sop_plugin import SopPlugin
from airflow_sop_provider.store.attempts import AttemptBegin, AttemptEnd, begin_attempt, end_attempt
from airflow_sop_provider.store.executions import find_execution
from tests.api.test_executions import submit


def address(sop: str, run_id: str, step: str = "first", map_index: str = "{MAP_INDEX}") -> str:
    """As Airflow's UI makes it of the plugin's template."""
    [view] = SopPlugin.external_views
    assert (view["destination"], view["href"].startswith(f"{MOUNT}/api/v1/")) == ("task_instance", True)
    filled = view["href"].removeprefix(MOUNT)
    for name, value in {"{DAG_ID}": sop, "{RUN_ID}": run_id, "{TASK_ID}": step}.items():
        filled = filled.replace(name, quote(value, safe=""))
    return filled.replace("{MAP_INDEX}", map_index)


def retried(sop: str, run_id: str, **more: int) -> None:
    key = AttemptKey(sop=sop, run_id=run_id, step="first", attempt=1, task_instance_id="t-1", **more)
    end = AttemptEnd(
        key=key, state="retrying", error_type="resource", error_code="out-of-memory", message="<b>too much</b>",
        retry_delay_seconds=1, retry_reason="resource failure: retry 1 of 3 in 1 s",
    )  # fmt: skip
    with create_session() as session:
        execution = find_execution(session, sop, run_id)
        begin_attempt(session, execution, AttemptBegin(key=key, kind="step", memory_bytes=64 * 1024**2))
        end_attempt(session, execution, end)


def test_each_try_is_shown_with_what_followed(admin, chain) -> None:
    run_id = submit(admin, chain).json()["run_id"]
    retried(chain, run_id)
    answer = admin.get(address(chain, run_id))
    assert answer.status_code == 200
    for expected in ("retry 1 of 3 in 1 s", "resource out-of-memory", "64 MiB", "&lt;b&gt;too much"):
        assert expected in answer.text
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    assert "retry 1 of 3" not in admin.get(address(chain, run_id, map_index="0")).text
    assert "retry 1 of 3" not in admin.get(address(chain, run_id, step="second")).text


def test_a_mapped_step_shows_its_own(admin, chain) -> None:
    run_id = submit(admin, chain).json()["run_id"]
    retried(chain, run_id, map_index=2)
    assert "retry 1 of 3" in admin.get(address(chain, run_id, map_index="2")).text
    assert "retry 1 of 3" not in admin.get(address(chain, run_id)).text


def test_what_is_not_known_is_said_and_nobody_sees_what_is_not_theirs(admin, client, chain) -> None:
    assert "no step of an SOP" in admin.get(address("not-an-sop", "r")).text
    run_id = submit(admin, chain).json()["run_id"]
    assert client.get(address(chain, run_id)).status_code in (401, 403)
