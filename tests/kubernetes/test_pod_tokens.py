"""Tokens that a real cluster gives its pods, verified with the keys that it publishes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from airflow_sop_provider.api.pod_keys import ClusterKeySource, FileKeySource, KeysUnavailableError
from airflow_sop_provider.api.pod_tokens import PodTokenError, PodTokenVerifier
from airflow_sop_provider.engine.failures import classify
from airflow_sop_provider.operators.pod_token import TOKEN_FOLDER
from airflow_sop_provider.runtimes.kubernetes import connect_by_environment
from tests.kubernetes.conftest import Kubectl, connect_with
from tests.kubernetes.test_runtime import finish, said
from tests.runtimes.steps import python

pytestmark = [pytest.mark.kubernetes, pytest.mark.timeout(600)]


async def refusal(verifier: PodTokenVerifier, token: str) -> str:
    with pytest.raises(PodTokenError) as caught:
        await verifier.verify(token)
    return caught.value.code


async def test_the_token_in_a_pod_proves_which_pod_it_is(runtime, attempt, kubectl: Kubectl, tmp_path: Path) -> None:
    step = python("import os; print('token', open(os.environ['TOKEN']).read())")
    step["command"]["env"] = {"TOKEN": f"{TOKEN_FOLDER}/token"}
    handle = await runtime.start(attempt(step, engine_url="https://engine.example/sop"))
    assert classify(await runtime.wait(handle)) is None
    (token,) = [line.removeprefix("token ") for line in await said(runtime, handle) if line.startswith("token ")]
    cluster = ClusterKeySource(connect_by_environment())
    found = await PodTokenVerifier(cluster, namespaces=[kubectl.namespace]).verify(token)
    assert (found.uid, found.name, found.namespace) == (handle.uid, handle.name, kubectl.namespace)
    # where the engine cannot reach the cluster an administrator brings the keys
    file = tmp_path / "keys.json"
    file.write_text(kubectl("get", "--raw", "/openid/v1/jwks"))
    issuer = json.loads(kubectl("get", "--raw", "/.well-known/openid-configuration"))["issuer"]
    offline = PodTokenVerifier(FileKeySource(file, issuer=issuer), namespaces=[kubectl.namespace])
    assert (await offline.verify(token)).uid == handle.uid
    assert await refusal(PodTokenVerifier(cluster, namespaces=["another"]), token) == "wrong-namespace"
    other = PodTokenVerifier(cluster, namespaces=[kubectl.namespace], audience="somebody-else")
    assert await refusal(other, token) == "wrong-audience"
    await finish(runtime, kubectl, handle)


async def test_a_token_of_an_account_alone_proves_nothing(kubectl: Kubectl) -> None:
    verifier = PodTokenVerifier(ClusterKeySource(connect_by_environment()), namespaces=[kubectl.namespace])
    unbound = kubectl("create", "token", "default", "--audience=sop-engine").strip()
    assert await refusal(verifier, unbound) == "not-a-pod"
    assert await refusal(verifier, kubectl("create", "token", "default").strip()) == "wrong-audience"


async def test_any_service_account_may_read_the_keys_and_nobody_else(kubectl: Kubectl, kubeconfig: str) -> None:
    """As the account of Airflow's API server does, without a right of its own."""
    kubectl("create", "serviceaccount", "api-server")
    token = kubectl("create", "token", "api-server").strip()
    assert (await ClusterKeySource(connect_with(token, kubeconfig)).fetch()).keys
    with pytest.raises(KeysUnavailableError, match="401"):
        await ClusterKeySource(connect_with("of-nobody", kubeconfig)).fetch()
