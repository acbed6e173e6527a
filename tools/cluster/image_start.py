"""How long a container of the runner's image takes to its first action, without a container engine.

The layers are unpacked and the entry point is started in them as its user, with a `/proc` of its own; what is left
out is what an engine needs to make a container. The runner itself says in its verdict when it did the first thing.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

from airflow_sop_provider.contract import Assignment, AttemptKey, StepPayload, Verdict
from tools.cluster.problems import ClusterProblem, call

__all__ = ["first_action_seconds"]

_STARTS = 3
_WORK = "sop"


def first_action_seconds(layers: Sequence[Path], config: dict[str, object], cache: Path) -> float:
    """Return the seconds from the process's start to the first action of a step that computes, the quickest of three.

    :param layers: the image's, the lowest first.
    :param config: the image's ``config``.
    :param cache: where there is room to unpack it.
    :raises ClusterProblem: it does not start, or we are not root.
    """
    with tempfile.TemporaryDirectory(dir=cache) as folder:
        root = Path(folder)
        for layer in layers:
            call(["tar", "--extract", "--file", str(layer), "--directory", str(root)])
        work = root / _WORK
        work.mkdir(mode=0o777)
        work.chmod(0o777)
        (work / "step.json").write_text(_assignment())
        return min(_start(root, config) for _ in range(_STARTS))


def _start(root: Path, config: dict[str, object]) -> float:
    entry, variables, user = config["Entrypoint"], config["Env"], config["User"]
    assert isinstance(entry, list)
    assert isinstance(variables, list)
    script = 'root=$1 user=$2; shift 2; mount -t proc proc "$root/proc"; exec chroot --userspec="$user" "$root" "$@"'
    environment = [*variables, f"SOP_STEP=/{_WORK}/step.json", f"SOP_VERDICT=/{_WORK}/verdict.json"]
    command = ["sh", "-euc", script, "sh", str(root), str(user), "/usr/bin/env", "-i", *environment, *entry]
    call(["unshare", "--mount", "--propagation", "private", *command])
    seconds = Verdict.model_validate_json((root / _WORK / "verdict.json").read_text()).first_action_seconds
    if seconds is None:
        raise ClusterProblem("the image's runner ended without having done anything.")
    return seconds


def _assignment() -> str:
    key = AttemptKey(sop="start", run_id="r", step="a", attempt=1, task_instance_id="t")
    step = {"id": "a", "compute": {"value": "1 + 1"}}
    payload = StepPayload(kind="step", sop="start", version="1", digest="0" * 64, step=step)
    return Assignment(key=key, payload=payload).model_dump_json(exclude_none=True)
