"""Does once, in a process that is about to fork, what every first DAG of a process costs.

The dag-processor forks a process per file. What its parent has imported and set up costs the forks
nothing; otherwise each of them loads the operator with the Kubernetes client behind it, the
expression language, Airflow's serializers and plugins again, for a document that takes milliseconds.
"""

from __future__ import annotations

from functools import cache

from airflow.serialization.serialized_objects import DagSerialization

from airflow_sop_provider.sop import check_text
from dag_factory.build import build_dag

__all__ = ["warm_up"]

_SAMPLE = """\
sop: warming
version: 1.0.0
title: Uses what SOPs use
inputs: {n: {type: integer, default: 1}}
data_sources: {source: {server: server, tools: [tool]}}
schedule: {cron: "0 1 * * *", timezone: Europe/Berlin, window: 1h}
steps:
  - {id: a, tool: source.tool, arguments: {n: "{{ inputs.n }}"}, outputs: {type: object}}
  - {id: b, needs: [a], for_each: "steps.a.list", when: "item > 1", compute: {v: "item"}, timeout: 1m}
rollback:
  - {id: undo, after: a, compute: {v: "1"}}
"""


@cache
def warm_up() -> None:
    """Turn a small SOP into a serialized DAG, and forget it."""
    DagSerialization.to_dict(build_dag(check_text(_SAMPLE, "warming.yaml").unwrap()))
