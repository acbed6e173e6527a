"""What is measured: one shape of ten steps, written for each contender, and single steps.

Every document has formulas and texts of its own, as a thousand SOPs of different authors have:
otherwise caches of compiled expressions would answer for documents that nobody has seen.
"""

from __future__ import annotations

import json
from pathlib import Path

from tools.cluster.simulation import NODE_LABEL, TOLERATION

__all__ = [
    "COMMAND_SOP",
    "ENDLESS",
    "HOLD_SOP",
    "NEXT_SOP",
    "SHAPE",
    "SLEEP_SOP",
    "dag_factory_text",
    "operator_dags_text",
    "pod_operator_dags_text",
    "python_text",
    "sop_text",
    "write_documents",
]

SHAPE: dict[str, tuple[str, ...]] = {
    "collect": (),
    "licences": ("collect",),
    "integrity": ("collect",),
    "owners": ("collect",),
    "score": ("licences", "integrity"),
    "contacts": ("owners",),
    "judge": ("score", "contacts"),
    "evidence": ("judge",),
    "notify": ("judge",),
    "report": ("evidence", "notify"),
}
"""Step -> its prerequisites: a fan-out, two joins and a diamond, ten steps."""

COMMAND_SOP = """\
sop: bench-command
version: 1.0.0
title: One step that does nothing
owner: bench
mode: system_design
steps:
  - id: only
    command: {command: ["true"]}
"""
"""The like of a BashOperator with ``true``."""


ENDLESS = ("sleep", "86399")
"""The command line of a step that goes on until somebody ends it; rare, as it is searched for among all processes."""

SLEEP_SOP = f"""\
sop: bench-sleep
version: 1.0.0
title: One step that goes on until somebody cancels it
owner: bench
mode: system_design
steps:
  - id: only
    command: {{command: {json.dumps(ENDLESS)}}}
"""


def _one_step(sop: str, step: str) -> str:
    return COMMAND_SOP.replace("bench-command", sop).replace("- id: only", f"- id: {step}")


HOLD_SOP = _one_step("bench-hold", "hold")
"""One step that goes on, on a simulated node, until it is let go."""
NEXT_SOP = (
    _one_step("bench-next", "first")
    + """\
  - id: second
    needs: [first]
    command: {command: ["true"]}
"""
)
"""Two steps, one after the other."""


def sop_text(number: int) -> str:
    """Return an SOP in `SHAPE`, of every kind that runs without a model."""
    return f"""\
sop: bench-{number}
version: 1.0.{number}
title: Review number {number} of the installed packages
control: BENCH-{number:04}
control_type: bench
owner: bench
mode: system_design
inputs:
  group: {{type: string, pattern: "^[a-z]{{1,12}}$", default: web}}
  limit: {{type: integer, minimum: 0, default: {number}}}
data_sources:
  environment: {{server: python-environment, tools: [list_distributions, licences, verify_record]}}
resources: {{cpu: 250m, memory: 256Mi}}
steps:
  - id: collect
    title: Collect the packages of review {number}
    tool: environment.list_distributions
    arguments: {{prefix: "{{{{ inputs.group }}}}-{number}"}}
    outputs: {{type: object, required: [names]}}
  - id: licences
    needs: [collect]
    tool: environment.licences
    arguments: {{names: "{{{{ steps.collect.names }}}}"}}
  - id: integrity
    needs: [collect]
    tool: environment.verify_record
    arguments: {{names: "{{{{ steps.collect.names }}}}"}}
    timeout: 10m
  - id: owners
    needs: [collect]
    compute: {{known: "steps.collect.names | reject('equalto', 'package-{number}') | list"}}
  - id: score
    needs: [licences, integrity]
    compute:
      unknown: "steps.licences | selectattr('licence', 'none') | list | length"
      total: "(steps.integrity | length) * {number + 1}"
  - id: contacts
    needs: [owners]
    compute: {{first: "steps.owners.known[:{number % 7 + 1}]"}}
  - id: judge
    needs: [score, contacts]
    decision:
      question: Is review {number} acceptable?
      options: {{accept: nothing was found, refuse: something was found}}
      rule: "'refuse' if steps.score.unknown > inputs.limit + {number} else 'accept'"
  - id: evidence
    needs: [judge]
    compute: {{choice: "steps.judge.choice ~ '-{number}'"}}
  - id: notify
    needs: [judge]
    command: {{command: [echo, "{{{{ steps.judge.choice }}}} of {number}"]}}
  - id: report
    needs: [evidence, notify]
    compute: {{text: "'review {number}: ' ~ steps.evidence.choice", at: "execution.run_id"}}
"""


def dag_factory_text(number: int, operator: str) -> str:
    """Return a dag-factory document in `SHAPE`.

    :param operator: ``KubernetesPodOperator`` or ``BashOperator``.
    """
    lines = [
        f"bench-{number}:",
        "  default_args: {owner: bench, start_date: 2024-01-01, retries: 3, retry_delay_sec: 1}",
        f"  description: Review number {number} of the installed packages",
        "  schedule: null",
        "  catchup: false",
        f"  tags: [BENCH-{number:04}, bench]",
        "  tasks:",
    ]
    for step, needs in SHAPE.items():
        lines += [
            f"    - task_id: {step}",
            *(f"      {line}" for line in _OPERATORS[operator](step, number)),
            f"      dependencies: [{', '.join(needs)}]",
        ]
    return "\n".join([*lines, ""])


def _pod_lines(step: str, number: int) -> list[str]:
    return [
        "operator: airflow.providers.cncf.kubernetes.operators.pod.KubernetesPodOperator",
        f"name: {step}-{number}",
        "image: sop-runner:1.0.0",
        "cmds: [sop-runner]",
        f"env_vars: {{STEP: {step}, GROUP: web, NUMBER: '{number}'}}",
    ]


def _bash_lines(step: str, number: int) -> list[str]:
    return [
        "operator: airflow.providers.standard.operators.bash.BashOperator",
        f"bash_command: sop-runner --step {step} --number {number}",
        f"env: {{STEP: {step}, GROUP: web, NUMBER: '{number}'}}",
    ]


_OPERATORS = {"KubernetesPodOperator": _pod_lines, "BashOperator": _bash_lines}


def python_text(number: int) -> str:
    """Return an ordinary DAG file in `SHAPE`, of `KubernetesPodOperator` tasks, as Airflow's pages show it."""
    lines = [
        "from airflow.providers.cncf.kubernetes.operators.pod import KubernetesPodOperator",
        "from airflow.sdk import DAG",
        "",
        f'with DAG("plain-{number}", schedule=None, catchup=False, tags=["BENCH-{number:04}", "bench"]) as dag:',
    ]
    for step in SHAPE:
        environment = {"STEP": step, "GROUP": "web", "NUMBER": str(number)}
        lines.append(
            f'    {step} = KubernetesPodOperator(task_id="{step}", name="{step}-{number}", image="sop-runner:1.0.0",'
            f' cmds=["sop-runner"], env_vars={environment!r}, retries=3)'
        )
    lines += [f"    {step}.set_upstream([{', '.join(needs)}])" for step, needs in SHAPE.items() if needs]
    return "\n".join([*lines, ""])


def operator_dags_text() -> str:
    """Return the DAG file of the contenders of `COMMAND_SOP`, and of a clock that a shell prints."""
    return """\
from airflow.providers.standard.operators.bash import BashOperator
from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.sdk import DAG


def only(name, operator, **arguments):
    with DAG(name, schedule=None, catchup=False, max_active_runs=4096, is_paused_upon_creation=False) as dag:
        operator(task_id="only", **arguments)
    globals()[name] = dag


only("bench-bash", BashOperator, bash_command="true")
only("bench-clock", BashOperator, bash_command="date +%s.%N")
only("bench-empty", EmptyOperator)
only("bench-noop", BashOperator, bash_command="true", executor="noop")
only("bench-wait", BashOperator, bash_command="exec sleep 86399")
"""


def pod_operator_dags_text(namespace: str, kubeconfig: str) -> str:
    """Return the DAG file of the like of `COMMAND_SOP` as pods of simulated nodes, and of an EmptyOperator."""
    return f"""\
from airflow.providers.cncf.kubernetes.operators.pod import KubernetesPodOperator
from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.sdk import DAG
from kubernetes.client import models as k8s

POD = dict(
    namespace={namespace!r}, image="simulated", in_cluster=False, config_file={kubeconfig!r},
    node_selector={NODE_LABEL!r},
    tolerations=[k8s.V1Toleration(key={TOLERATION["key"]!r}, operator="Exists", effect="NoSchedule")],
    automount_service_account_token=False,
)


def only(name, operator, **arguments):
    with DAG(name, schedule=None, catchup=False, max_active_runs=4096, is_paused_upon_creation=False) as dag:
        operator(task_id="only", **arguments)
    globals()[name] = dag


only("bench-pod", KubernetesPodOperator, **POD)
only("bench-pod-deferrable", KubernetesPodOperator, deferrable=True, **POD)
only("bench-empty", EmptyOperator)
"""


def write_documents(folder: Path, texts: dict[str, str]) -> Path:
    """Write files by name; return the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in texts.items():
        (folder / name).write_text(text)
    return folder
