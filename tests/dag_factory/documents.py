"""SOPs for tests, and how to turn their text into a DAG."""

from __future__ import annotations

from textwrap import dedent
from typing import Any

from airflow.serialization.serialized_objects import DagSerialization

from airflow_sop_provider.contract.payload import PAYLOAD_KEY, StepPayload
from airflow_sop_provider.sop import check_text
from airflow_sop_provider.sop.loaded import LoadedSop
from dag_factory import build_dag
from dag_factory.sop_dag import SopDag

HEAD = """\
sop: review
version: 1.0.0
title: A review
"""

VENDOR = """\
sop: vendor-bank-change
version: 2.1.0
title: Vendor bank-account change review
control: AP-017
control_type: payment-review
owner: treasury-qa
priority: high
inputs:
  vendor_id: {type: string, pattern: "^V-[0-9]{6}$", description: Which vendor}
  limit: {type: integer, default: 3}
data_sources:
  vendors: {server: vendor-master, tools: [get_vendor, bank_history, unfreeze]}
agent: {model: some-model}
resources: {cpu: 250m, memory: 256Mi, max_memory: 1Gi}
guidance: Be careful.
steps:
  - id: history
    title: Read the history
    tool: vendors.bank_history
    arguments: {vendor_id: "{{ inputs.vendor_id }}"}
    timeout: 10m
  - id: score
    needs: [history]
    compute: {recent: "steps.history.changes | length"}
    retry: {max_retries: 1}
    resources: {memory: 64Mi}
  - id: each
    needs: [history]
    for_each: "steps.history.changes"
    when: "item.days_ago < 30"
    tool: vendors.get_vendor
    arguments: {id: "{{ item.id }}", other: "{{ inputs.limit }}"}
  - id: judge
    needs: [score, each]
    decision:
      question: Is it suspicious?
      options: {clear: fine, suspicious: bad}
      rule: "'suspicious' if steps.score.recent > 1 else ask"
  - id: freeze
    needs: [judge]
    when: "steps.judge.choice == 'suspicious'"
    compute: {done: "true"}
rollback:
  - {id: unfreeze, after: freeze, tool: vendors.unfreeze, arguments: {vendor_id: "{{ inputs.vendor_id }}"}}
  - {id: unscore, after: score, compute: {undone: "steps.score.recent"}}
"""


def loaded(text: str) -> LoadedSop:
    return check_text(text, "test.yaml").unwrap()


def sop(steps: str, head: str = HEAD) -> LoadedSop:
    return loaded(head + dedent(steps))


def dag_of(text: str) -> SopDag:
    return build_dag(loaded(text))


def serialized(dag: SopDag) -> Any:
    """Return the DAG as the scheduler and the API server see it."""
    return DagSerialization.from_dict(DagSerialization.to_dict(dag))


def payload_of(task: Any) -> StepPayload:
    return StepPayload.model_validate(task.executor_config[PAYLOAD_KEY])


def step_edges(dag: Any) -> set[tuple[str, str]]:
    """Return the edges between steps: rollback tasks left out, a task that lists items joined with its step."""
    kinds = {task.task_id: payload_of(task).kind for task in dag.task_dict.values()}
    stands_for = {
        task.task_id: payload_of(task).step["id"] if kinds[task.task_id] == "items" else task.task_id
        for task in dag.task_dict.values()
    }
    edges = {
        (stands_for[upstream], stands_for[task.task_id])
        for task in dag.task_dict.values()
        for upstream in task.upstream_task_ids
        if "rollback" not in (kinds[upstream], kinds[task.task_id])
    }
    return {(before, after) for before, after in edges if before != after}
