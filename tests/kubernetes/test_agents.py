"""Agent steps in pods: the larger image of the runner carries them out, the usual one says what is missing."""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest

from airflow_sop_provider.contract import ErrorType
from airflow_sop_provider.engine.failures import classify
from airflow_sop_provider.runtimes import AttemptSpec
from airflow_sop_provider.runtimes.kubernetes import KubernetesRuntime
from tests.kubernetes.conftest import Kubectl
from tests.kubernetes.killing import cluster_is_ours
from tests.kubernetes.test_runtime import finish
from tools.cluster import images
from tools.cluster.layout import Layout

GIVEN = os.environ.get("SOP_AGENTS_IMAGE")

pytestmark = [
    pytest.mark.kubernetes,
    pytest.mark.timeout(600),
    pytest.mark.skipif(not GIVEN and not cluster_is_ours(), reason="SOP_AGENTS_IMAGE names no image of the cluster's"),
]

STEP = {"decision": {"question": "Is it suspicious?", "options": {"clear": "no", "suspicious": "yes"}, "rule": "ask"}}
MODEL = {"model": "scripted:package-brief"}
"""The model that ships: it takes a decision's first option."""


@pytest.fixture(scope="module")
def image(kubeconfig: str) -> str:
    """Name of the image with the agents' libraries, which the node has."""
    return GIVEN or images.import_runner(Layout.default(), agents=True)


async def test_an_agent_takes_a_decision_in_a_pod(
    runtime: KubernetesRuntime, attempt: Callable[..., AttemptSpec], kubectl: Kubectl, image: str
) -> None:
    handle = await runtime.start(attempt(STEP, image=image, agent=MODEL))
    outcome = await runtime.wait(handle)
    assert classify(outcome) is None, outcome
    assert outcome.verdict is not None
    decided = outcome.verdict.outputs
    assert (decided["choice"], decided["by"], decided["rationale"]) == ("clear", "agent", "As the script says.")
    assert outcome.verdict.usage.input_tokens == 100
    await finish(runtime, kubectl, handle)


async def test_the_image_without_agents_says_what_is_missing(
    runtime: KubernetesRuntime, attempt: Callable[..., AttemptSpec], kubectl: Kubectl
) -> None:
    handle = await runtime.start(attempt(STEP, agent=MODEL))
    failure = classify(await runtime.wait(handle))
    assert failure is not None
    assert (failure.type, failure.code) == (ErrorType.PERMANENT, "agent-unavailable"), failure
    assert "agents" in failure.message
    await finish(runtime, kubectl, handle)
