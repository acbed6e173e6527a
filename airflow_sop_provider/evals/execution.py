"""An execution in this process, for authors: the graph walked by the engine's rules, steps carried out by the runner.

Nothing of what an execution means is decided here. Which step runs, is skipped or halted says `WorkflowGraph.fate`;
what a step is given and what its end means, `engine`; what it does, `runner`. What is missing against an
Airflow: isolation, limits of time and memory of a container, and images of `command` steps, which are refused.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from airflow_sop_provider.contract.payload import StepPayload
from airflow_sop_provider.engine.execution_context import AGENT_STEP
from airflow_sop_provider.engine.execution_state import ExecutionResult, ExecutionState, TaskState
from airflow_sop_provider.engine.payloads import items_payload, sop_payload, step_payload
from airflow_sop_provider.engine.rollback import FAILED_STATES, reason_to_skip
from airflow_sop_provider.engine.rollback_order import rollback_needs
from airflow_sop_provider.evals.attempts import Execution, TaskEnd, run_task
from airflow_sop_provider.evals.models import Case, RecordedResult
from airflow_sop_provider.evals.recorded import RecordedCaller
from airflow_sop_provider.evals.trace import Trace
from airflow_sop_provider.runner.lines import Log, Redactor
from airflow_sop_provider.runner.step_context import ToolCaller
from airflow_sop_provider.sop import LoadedSop, Step
from airflow_sop_provider.sop.checks.graph import ITEMS_SUFFIX
from airflow_sop_provider.sop.graph import WorkflowGraph

__all__ = ["InProcess"]


class InProcess:
    """Executes cases in this process; of an agent-centric SOP as one task.

    :param recorded: answers of tools, after a case's own.
    :param call: what calls tools where nothing is recorded, None: every call must be recorded.
    :param fleet: ``fleet.yaml``: nothing is recorded, and each task opens its own connections, as in a container.
    :param run_after: ``execution.run_after``, None: the time of each execution.
    :param sleep: waits between attempts; the default does not wait, for recorded failures do not pass with time.
    :param log: file that takes the steps' logs.
    """

    def __init__(
        self,
        loaded: LoadedSop,
        recorded: tuple[RecordedResult, ...] = (),
        call: ToolCaller | None = None,
        *,
        fleet: Path | None = None,
        run_after: datetime | None = None,
        sleep: Callable[[float], None] = lambda _seconds: None,
        log: Path = Path(os.devnull),
        redactor: Redactor | None = None,
    ) -> None:
        self._loaded = loaded
        self._fleet = fleet
        self._recorded = recorded
        self._call = call
        self._run_after = run_after
        self._sleep = sleep
        self._log = log
        self._redactor = redactor or Redactor()
        self._servers = {name: source.server for name, source in loaded.sop.data_sources.items()}

    def execute(self, case: Case) -> Trace:
        """Execute one case; see `CaseExecutor`."""
        started = time.monotonic()
        with self._execution(case) as (execution, called):
            walk = _Walk(self._loaded, execution, case.approvals)
            if self._loaded.mode.mode == "agent_centric":
                walk.alone()
            else:
                walk.steps()
                walk.rollback()
        graph = _graph(self._loaded)
        outputs = {step: execution.xcoms[step] for step in graph.step_ids if step in execution.xcoms}
        result = ExecutionResult.of(graph, walk.tasks, outputs)
        return Trace(
            status=result.status,
            states=ExecutionState.of(graph, walk.tasks).states,
            outputs=result.outputs,
            tools=tuple(called) or tuple(self._recorded_calls(walk.ends.values())),
            failures=walk.failures,
            seconds=time.monotonic() - started,
            events={task: end.events for task, end in walk.ends.items()},
            usage={task: end.usage for task, end in walk.ends.items()},
        )

    def _recorded_calls(self, ends: Iterable[TaskEnd]) -> Iterator[str]:
        """Yield the calls of tasks that opened their own connections, as they recorded them."""
        names = {server: source for source, server in self._servers.items()}
        for event in (event for end in ends for event in end.events if event["event"] == "data.access"):
            yield f"{names.get(event['server'], event['server'])}.{event['tool']}"

    @contextlib.contextmanager
    def _execution(self, case: Case) -> Iterator[tuple[Execution, list[str]]]:
        answers = RecordedCaller([*case.recorded, *self._recorded], self._servers, self._call)
        called: list[str] = []
        names = {server: source for source, server in self._servers.items()}

        def call(server: str, tool: str, arguments: dict[str, Any], limit: float | None) -> Any:
            called.append(f"{names.get(server, server)}.{tool}")
            return answers(server, tool, arguments, limit)

        now = self._run_after or datetime.now(UTC)
        run = {"logical_date": now, "run_after": now, "run_type": "manual", "triggered_by": "eval"}
        descriptor = os.open(self._log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        try:
            yield (
                Execution(
                    sop=self._loaded.sop.sop, run_id=f"eval__{case.id}", conf=case.inputs, run=run,
                    call=call if self._fleet is None else None, fleet=self._fleet, sleep=self._sleep,
                    log=Log(self._redactor, descriptor), redactor=self._redactor,
                ),
                called,
            )  # fmt: skip
        finally:
            os.close(descriptor)


class _Walk:
    """The tasks of one execution, in an order in which nothing waits."""

    def __init__(self, loaded: LoadedSop, execution: Execution, approvals: Mapping[str, str]) -> None:
        self._loaded = loaded
        self._execution = execution
        self._approvals = approvals
        self.tasks: list[TaskState] = []
        self.failures: dict[str, str] = {}
        self.ends: dict[str, TaskEnd] = {}

    def alone(self) -> None:
        """Have one agent carry out every step; each is a task here, so that results read alike in both modes."""
        end = run_task(self._execution, AGENT_STEP, sop_payload(self._loaded))
        self.ends[AGENT_STEP] = end
        done = end.outputs["steps"] if end.state == "success" else {}
        recorded = {event.get("sop_step") for event in end.events if event["event"] == "agent.result"}
        order = self._loaded.graph.order
        left = [step for step in order if step not in done and step not in recorded]
        # an agent may fail after its last step: at its report, or because it departed from the SOP
        failed = None if end.state == "success" else (left or list(order[-1:]))[0]
        for step in order:
            if step == failed:
                self._end(step, TaskEnd("failed", None, end.message), -1)
            else:
                self.tasks.append(TaskState(step, "upstream_failed" if step in left else "success"))
        self._execution.xcoms |= done

    def steps(self) -> None:
        """Run, skip or halt every step, prerequisites first."""
        graph = self._loaded.graph
        for step_id in graph.order:
            fate = graph.fate(step_id, ExecutionState.of(graph, self.tasks).states)
            if fate == "run":
                self._step(self._loaded.sop.step(step_id))
            else:
                self.tasks.append(TaskState(step_id, "skipped" if fate == "skip" else "upstream_failed"))

    def rollback(self) -> None:
        """Run the rollback steps that have something to undo, later steps' first."""
        steps = {step.id: step for step in self._loaded.sop.rollback}
        waits = rollback_needs(self._loaded.graph, self._loaded.sop.rollback)
        order = WorkflowGraph({name: [need for need in waits[name] if need in steps] for name in steps}).order
        failed = any(task.state in FAILED_STATES for task in self.tasks)
        succeeded = {task.task_id for task in self.tasks if task.state == "success"}
        for name in order:
            step = steps[name]
            payload = step_payload(self._loaded, step)
            skip = reason_to_skip(payload, undone_succeeded=step.after in succeeded, execution_failed=failed)
            if skip is None:
                self._end(name, run_task(self._execution, name, payload), -1)

    def _step(self, step: Step) -> None:
        if step.for_each is not None:
            self._mapped(step)
            return
        payload = step_payload(self._loaded, step)
        end = self._carry(step, payload)
        self._end(step.id, end, -1)
        if end.state == "success" and end.outputs is not None:
            self._execution.xcoms[step.id] = end.outputs

    def _carry(self, step: Step, payload: StepPayload, index: int = -1, item: object = None) -> TaskEnd:
        answer = self._approvals.get(step.id) if step.approval is not None else None
        payload = payload if answer is None else _answered(payload, answer)
        end = run_task(self._execution, step.id, payload, index, item)
        if step.approval is None or end.state != "success":
            return end
        return _by_people(end, answer, step.approval.on_reject)

    def _mapped(self, step: Step) -> None:
        name = f"{step.id}{ITEMS_SUFFIX}"
        listed = run_task(self._execution, name, items_payload(self._loaded, step))
        self._end(name, listed, -1)
        if listed.state != "success":
            self.failures[step.id] = self.failures.pop(name, listed.message)
            self.tasks.append(TaskState(step.id, "upstream_failed"))
            return
        items = listed.outputs
        self._execution.xcoms[name] = items
        payload = step_payload(self._loaded, step, items_task=name)
        ends = [self._carry(step, payload, index, item) for index, item in enumerate(items)]
        for index, end in enumerate(ends):
            self._end(step.id, end, index)
        if not ends:
            self.tasks.append(TaskState(step.id, "skipped"))  # as Airflow has it for a map over nothing
        outputs = [end.outputs for end in ends if end.state == "success" and end.outputs is not None]
        if outputs:
            self._execution.xcoms[step.id] = outputs

    def _end(self, task_id: str, end: TaskEnd, map_index: int) -> None:
        self.tasks.append(TaskState(task_id, end.state, map_index))
        self.ends.setdefault(task_id, end)
        if end.state == "failed":
            self.failures.setdefault(task_id, end.message)


def _graph(loaded: LoadedSop) -> WorkflowGraph:
    """Return the order in which steps were done: one agent does those without `needs` one after the other."""
    order = loaded.graph.order
    if loaded.mode.mode == "system_design":
        return loaded.graph
    return WorkflowGraph({step: order[max(0, index - 1) : index] for index, step in enumerate(order)})


def _answered(payload: StepPayload, answer: str) -> StepPayload:
    """Return an approval that people have answered: a step that gives the answer, if its `when` lets it."""
    step = {name: value for name, value in payload.step.items() if name != "approval"}
    said = {"choice": f"'{answer}'", "by": "['the case']", "comment": "none", "answers": "[]"}
    return payload.model_copy(update={"step": {**step, "compute": said}})


def _by_people(end: TaskEnd, answer: str | None, on_reject: str) -> TaskEnd:
    """Return what an approval comes to: without people's answer it would wait for ever."""
    if answer is None:
        return TaskEnd("failed", message="nobody answers: say what people answer in the case's `approvals`")
    if answer == "rejected" and on_reject == "fail":
        return TaskEnd("failed", message="rejected, says the case")
    return end
