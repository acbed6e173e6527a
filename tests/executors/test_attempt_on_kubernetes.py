"""An attempt carried from the queue to its verdict on the Kubernetes runtime: pods that never start use no attempt.

What is written of it is kept by a stand-in; test_ledger.py has the real tables, tests/integration all of it.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from airflow_sop_provider.airflow_settings import read_settings
from airflow_sop_provider.contract import AttemptKey, StepPayload, Verdict, container_name
from airflow_sop_provider.contract.portable import start_command
from airflow_sop_provider.engine import retries
from airflow_sop_provider.executors import attempt_carrier
from airflow_sop_provider.executors.airflow_states import Report, Superseded
from airflow_sop_provider.executors.attempt_carrier import AttemptCarrier, Services
from airflow_sop_provider.executors.ledger import Begun, RecordingError
from airflow_sop_provider.executors.messages import AttemptMessage, Identity
from airflow_sop_provider.executors.upstream import Upstream
from airflow_sop_provider.runtimes.kubernetes import KubernetesRuntime
from airflow_sop_provider.store.attempts import AttemptBegin, AttemptEnd
from tests.runtimes.fake_kubernetes import FakeKubernetes
from tests.runtimes.helpers import until

pytestmark = pytest.mark.timeout(300)

KEY = AttemptKey(sop="s", run_id="r", step="a", attempt=1, task_instance_id="t")
NAME = container_name(KEY)
STEP = {"id": "a", "compute": {"v": "1"}}
PAYLOAD = StepPayload(kind="step", sop="s", version="1", digest="d", step=STEP, max_retries=3)


class RecordingLedger:
    """Stands for Airflow's and the engine's tables: keeps what is written."""

    def __init__(self) -> None:
        self.said: list[tuple[str, Any]] = []
        self.begun: list[AttemptBegin] = []
        self.ended: list[AttemptEnd] = []
        self.superseded: str | None = None
        self.broken: Exception | None = None

    async def begin(self, *given: Any, **_: object) -> Begun:
        if self.superseded:
            raise Superseded(self.superseded)
        if self.broken:
            raise self.broken
        self.begun.append(given[2])
        return Begun({"dag_run": {"conf": {}}, "max_tries": 3}, Upstream({}, None, frozenset()))

    async def end(self, _: AttemptKey, report: Report, fact: AttemptEnd) -> bool:
        self.said += [("xcom", output.value) for output in report.outputs]
        self.said.append((report.state, report.retry_delay_seconds))
        self.ended.append(fact)
        return True

    async def record(self, fact: AttemptEnd) -> None:
        self.ended.append(fact)

    async def refuse(self, *_: object) -> None:
        self.said.append(("refused", None))


class Case:
    """One attempt on a cluster."""

    def __init__(self, cluster: FakeKubernetes, runtime: KubernetesRuntime, log: Path) -> None:
        self.cluster, self.ledger, self.log, self.runtime = cluster, RecordingLedger(), log, runtime
        self.carrier = self.carrier_of(KEY)

    def carrier_of(self, key: AttemptKey, *, step: dict[str, Any] = STEP, **options: Any) -> AttemptCarrier:
        settings = replace(read_settings(), namespace="steps", **options)
        services = Services(
            ledger=self.ledger,  # type: ignore[arg-type]
            database=None,  # type: ignore[arg-type]
            runtime=self.runtime,
            settings=settings,
            token=lambda key, seconds: "token",
        )
        identity = Identity(hostname="h", unixname="u", pid=1)
        payload = PAYLOAD.model_copy(update={"step": step}).model_dump(mode="json")
        message = AttemptMessage(key=key, payload=payload, log_path="attempt.log", identity=identity)
        return AttemptCarrier(message, services)

    async def pod(self, *, unlike: str = "") -> str:
        """Wait for a pod, other than the one with this uid; return its uid."""
        pods = self.cluster.pods
        await until(lambda: NAME in pods and pods[NAME]["metadata"]["uid"] != unlike)
        return str(pods[NAME]["metadata"]["uid"])

    def events(self) -> list[str]:
        return [json.loads(line)["event"] for line in self.log.read_text().splitlines()]


@pytest.fixture
async def case(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Case]:
    monkeypatch.setenv("AIRFLOW__LOGGING__BASE_LOG_FOLDER", str(tmp_path))
    _requeue(monkeypatch, delay=0.05)
    async with FakeKubernetes() as cluster:
        runtime = KubernetesRuntime(cluster.connect, namespace="steps")
        yield Case(cluster, runtime, tmp_path / "attempt.log")
        await runtime.close()


def _requeue(monkeypatch: pytest.MonkeyPatch, *, delay: float, limit: float = 600.0) -> None:
    policy = retries.RetryPolicy(requeue_delay_seconds=delay, requeue_limit_seconds=limit)
    monkeypatch.setattr(attempt_carrier, "RetryPolicy", lambda: policy)


async def test_a_pod_that_never_started_is_made_again_and_no_attempt_is_used(case: Case) -> None:
    carrying = asyncio.create_task(case.carrier.carry())
    first = await case.pod()
    await case.cluster.status(NAME, phase="Failed", reason="Evicted", message="The node was drained")
    second = await case.pod(unlike=first)
    assert second != first
    verdict = Verdict(status="succeeded", outputs={"v": 1}).model_dump_json()
    await case.cluster.end(NAME, 0, verdict)
    assert (await carrying).state == "reported"
    await case.carrier.clean_up()
    assert case.ledger.said == [("xcom", {"v": 1}), ("success", None)]
    assert any("no attempt used" in event for event in case.events())
    assert (case.cluster.pods, case.cluster.secrets) == ({}, {})


async def test_a_step_that_names_an_image_is_carried_like_every_other(case: Case) -> None:
    carrier = case.carrier_of(KEY, step={"id": "a", "command": {"image": "tool:1", "command": ["run"]}})
    carrying = asyncio.create_task(carrier.carry())
    await case.pod()
    spec = case.cluster.pods[NAME]["spec"]
    (container,), (copying,) = spec["containers"], spec["initContainers"]
    assert (container["image"], container["command"]) == ("tool:1", start_command())
    assert copying["image"] == read_settings().image
    environment = {one["name"]: one["value"] for one in container["env"]}
    assert environment == {"SOP_STEP": "/run/sop/assignment.json"}, "no fleet, nothing of the site's"
    assert set(case.cluster.secrets[NAME]["data"]) == {"assignment.json"}
    assert {"/run/sop", "/run/sop-runner", "/tmp"} == {one["mountPath"] for one in container["volumeMounts"]}
    await case.cluster.run(NAME)
    await case.cluster.end(NAME, 0, Verdict(status="succeeded", outputs={"v": 1}).model_dump_json())
    assert (await carrying).state == "reported"
    await carrier.clean_up()
    assert case.ledger.said == [("xcom", {"v": 1}), ("success", None)]
    assert (case.cluster.pods, case.cluster.secrets) == ({}, {})


async def test_a_quota_that_stays_full_is_a_failure_in_the_end(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    _requeue(monkeypatch, delay=0.05, limit=0.3)
    case.cluster.refuse = lambda verb, path: (
        (403, "Forbidden", "exceeded quota") if (verb, path) == ("POST", "pods") else None
    )
    assert (await case.carrier.carry()).state == "reported", "the executor has done its part"
    assert case.ledger.said == [("failed", None)]
    assert any("never started within" in event for event in case.events())


async def test_an_attempt_is_stopped_while_it_waits_for_room(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    _requeue(monkeypatch, delay=600.0)
    carrying = asyncio.create_task(case.carrier.carry())
    await case.pod()
    await case.cluster.status(NAME, phase="Failed", reason="Evicted", message="The node was drained")
    await until(lambda: NAME not in case.cluster.pods)
    await case.carrier.stop("Airflow set the task instance to failed")
    assert (await carrying).state == "failed"
    assert case.ledger.said == []


async def test_a_crash_of_a_pod_is_a_try(case: Case) -> None:
    carrying = asyncio.create_task(case.carrier.carry())
    await case.pod()
    await case.cluster.run(NAME)
    await case.cluster.end(NAME, 139, "")
    await carrying
    assert case.ledger.said == [("up_for_retry", 1.0)]


@pytest.mark.parametrize(
    ("state", "told"),
    [("running", "elsewhere"), ("success", "success"), ("failed", "failed"), ("restarting", "failed")],
)
async def test_an_attempt_that_is_not_ours_any_more_is_left_alone(case: Case, state: str, told: str) -> None:
    case.ledger.superseded = state
    assert (await case.carrier.carry()).state == told
    assert (case.cluster.pods, case.ledger.said) == ({}, [])


async def test_an_attempt_that_cannot_be_recorded_never_starts_and_its_log_says_why(case: Case) -> None:
    case.ledger.broken = RecordingError("the engine's tables did not take it: no such table")
    assert (await case.carrier.carry()).state == "failed"
    assert (case.cluster.pods, case.ledger.said) == ({}, [("refused", None)])
    assert any("no such table" in event for event in case.events())


async def _carried(case: Case, carrier: AttemptCarrier, name: str, exit_code: int, message: str = "") -> None:
    carrying = asyncio.create_task(carrier.carry())
    await until(lambda: name in case.cluster.pods)
    await case.cluster.run(name)
    await case.cluster.end(name, exit_code, message)
    await carrying
    await carrier.clean_up()


async def test_a_failed_attempt_is_kept_if_the_site_wants_it_and_its_retry_has_a_pod_of_its_own(case: Case) -> None:
    await _carried(case, case.carrier_of(KEY, keep_failed_seconds=3600.0), NAME, 3)
    assert (set(case.cluster.pods), set(case.cluster.secrets)) == ({NAME}, {NAME})
    assert any("stays for a person to look at" in event for event in case.events())
    second = KEY.model_copy(update={"attempt": 2, "task_instance_id": "t2"})
    name = container_name(second)
    succeeded = Verdict(status="succeeded", outputs={"v": 1}).model_dump_json()
    await _carried(case, case.carrier_of(second, keep_failed_seconds=3600.0), name, 0, succeeded)
    assert case.ledger.said == [("up_for_retry", 1.0), ("xcom", {"v": 1}), ("success", None)]
    assert (set(case.cluster.pods), set(case.cluster.secrets)) == ({NAME}, {NAME}), "what succeeded is removed at once"


async def test_a_failed_attempt_is_removed_at_once_by_default(case: Case) -> None:
    await _carried(case, case.carrier, NAME, 3)
    assert (case.cluster.pods, case.cluster.secrets) == ({}, {})


async def test_a_stopped_attempt_is_not_kept(case: Case) -> None:
    carrier = case.carrier_of(KEY, keep_failed_seconds=3600.0)
    carrying = asyncio.create_task(carrier.carry())
    await case.pod()
    await case.cluster.run(NAME)
    stopping = asyncio.create_task(carrier.stop("Airflow set the task instance to failed"))
    await until(lambda: "deletionTimestamp" in case.cluster.pods[NAME]["metadata"])
    await case.cluster.end(NAME, 3)  # it says something else than that it was stopped
    await stopping
    await carrying
    await carrier.clean_up()
    assert (case.cluster.pods, case.cluster.secrets) == ({}, {})
