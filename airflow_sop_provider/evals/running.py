"""A run of a suite: every case that has no result yet, results kept as they come."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path

from airflow_sop_provider.contract.assignment import Assignment
from airflow_sop_provider.contract.attempt import AttemptKey
from airflow_sop_provider.contract.payload import StepPayload
from airflow_sop_provider.evals.execution import InProcess
from airflow_sop_provider.evals.results import ResultsFile, case_key
from airflow_sop_provider.evals.scores import CaseResult, score
from airflow_sop_provider.evals.suite import LoadedSuite
from airflow_sop_provider.evals.trace import CaseExecutor
from airflow_sop_provider.runner.agents.site import MODELS_FILE_VARIABLE
from airflow_sop_provider.runner.lines import EventLog, Log, Redactor
from airflow_sop_provider.runner.step_context import StepContext, ToolCaller

__all__ = ["IN_PROCESS", "in_process", "run_suite"]

IN_PROCESS = "in-process"


def run_suite(
    suite: LoadedSuite,
    executor: CaseExecutor,
    results: ResultsFile,
    where: str = IN_PROCESS,
    seen: Callable[[CaseResult, bool], None] = lambda _result, _again: None,
) -> list[CaseResult]:
    """Return the result of every case, in the suite's order.

    :param seen: told each result, and whether it is from before an interruption.
    """
    found: list[CaseResult] = []
    for case in suite.cases:
        key = case_key(suite, case, where)
        known = results.done.get(key)
        result = known or score(case, executor.execute(case), suite.suite)
        if known is None:
            results.add(key, result)
        found.append(result)
        seen(result, known is not None)
    results.end()
    return found


@contextlib.contextmanager
def in_process(suite: LoadedSuite, log: Path | None = None) -> Iterator[InProcess]:
    """Give what executes a suite's cases in this process; its servers stay connected until the block ends.

    :param log: file that takes the logs of steps and servers, None: nothing does.
    """
    redactor, target = Redactor(), log or Path(os.devnull)
    run_after = None if suite.suite.run_after is None else datetime.fromisoformat(suite.suite.run_after)
    with contextlib.ExitStack() as stack:
        _use_models(suite.models, stack)
        call: ToolCaller | None = None
        if suite.fleet is not None:
            call = _warm(suite.fleet, redactor, target, stack)
        yield InProcess(
            suite.loaded, suite.recorded, call, run_after=run_after, log=target, redactor=redactor,
            sleep=time.sleep if call is not None else lambda _seconds: None,
        )  # fmt: skip


def _use_models(path: Path | None, stack: contextlib.ExitStack) -> None:
    """Have agents of this process read a file of models until the block ends; the environment's own comes first."""
    if path is not None and not os.environ.get(MODELS_FILE_VARIABLE):
        os.environ[MODELS_FILE_VARIABLE] = str(path.absolute())
        stack.callback(os.environ.pop, MODELS_FILE_VARIABLE, None)


def _warm(fleet: Path, redactor: Redactor, log: Path, stack: contextlib.ExitStack) -> ToolCaller:
    """Return what calls the servers of a fleet; the MCP client is imported when the first call needs it."""
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    stack.callback(os.close, descriptor)
    key = AttemptKey(sop="eval", run_id="eval", step="eval", attempt=1, task_instance_id="eval")
    nothing = Assignment(key=key, payload=StepPayload(kind="step", sop="eval", version="0", digest="", step={}))
    context = StepContext(nothing, Log(redactor, descriptor), EventLog(None, redactor, {}), redactor, fleet=fleet)
    callers: list[ToolCaller] = []

    def call(server: str, tool: str, arguments: dict[str, object], limit: float | None) -> object:
        if not callers:
            from airflow_sop_provider.evals.warm import WarmServers

            callers.append(stack.enter_context(WarmServers(fleet, context)))
        return callers[0](server, tool, arguments, limit)

    return call
