"""Feature: execution-engine, Property 22: Status and events

The runner's part: whatever a step comes to, its end is one event with time, status, elapsed time
and context, and everything it did before is an event of its own, in order.
"""

from __future__ import annotations

import json
import os
import signal
import tempfile
from datetime import UTC, datetime
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_sop_provider.contract import Assignment, AttemptKey, StepPayload
from airflow_sop_provider.runner.attempt import Attempt
from airflow_sop_provider.runner.environment import RunnerEnvironment
from airflow_sop_provider.runner.lines import EventLog, Log, Redactor
from airflow_sop_provider.runner.reporting import Reporter
from airflow_sop_provider.runner.step_context import StepContext

OPTIONS = {"yes": "a", "no": "b"}
STEPS = st.one_of(
    st.fixed_dictionaries({"compute": st.dictionaries(st.from_regex(r"[a-z]{1,8}", fullmatch=True),
                                                      st.sampled_from(["inputs.n", "1 / inputs.n", "nope.x"]),
                                                      min_size=1)}),
    st.fixed_dictionaries({"decision": st.sampled_from(["'yes'", "'maybe'", "ask", "'no' if inputs.n else 'yes'"]).map(
        lambda rule: {"question": "?", "options": OPTIONS, "rule": rule})}),
    st.just({"agent": {"instruction": "x"}}),
)  # fmt: skip
STATUS = {0: {"succeeded", "skipped"}, 65: {"failed"}, 78: {"failed"}}


@settings(max_examples=100, deadline=None)
@given(step=STEPS, when=st.sampled_from([None, "inputs.n > 0", "true"]), n=st.integers(0, 2), attempt=st.integers(1, 4))
def test_every_change_of_a_step_is_an_event(step, when, n, attempt):
    before = signal.getsignal(signal.SIGTERM)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "events.jsonl"
        code = run({"id": "x", **step, **({"when": when} if when else {})}, n, attempt, path)
        events = [json.loads(line) for line in path.read_text().splitlines()]
    signal.signal(signal.SIGTERM, before)
    assert [event["event"] for event in events][-1] == "attempt.end"
    assert [event["event"] for event in events].count("attempt.end") == 1
    end = events[-1]
    assert end["status"] in STATUS[code]
    assert end["exit_code"] == code
    assert end["usage"]["wall_seconds"] >= 0
    times = [datetime.fromisoformat(event["time"]) for event in events]
    assert times == sorted(times)
    for event in events:
        assert (event["execution"], event["step"], event["attempt"]) == ("s/r", "x", attempt)
    if end["status"] == "skipped":
        assert len(events) == 1
    if "decision" in step and end["status"] == "succeeded":
        assert [event["event"] for event in events] == ["action", "decision", "attempt.end"]


def run(step: dict, n: int, attempt: int, path: Path) -> int:
    key = AttemptKey(sop="s", run_id="r", step="x", attempt=attempt, task_instance_id="t")
    payload = StepPayload(kind="step", sop="s", version="1", digest="0", step=step)
    redactor = Redactor()
    events = EventLog(path, redactor, {"execution": "s/r", "step": "x", "attempt": attempt})
    descriptor = os.open(os.devnull, os.O_WRONLY)
    log = Log(redactor, descriptor)
    environment = RunnerEnvironment(path, verdict=None, termination_log=None, events=path, fleet=None)
    context = StepContext(Assignment(key=key, payload=payload, inputs={"n": n}), log, events, redactor)
    code = Attempt(context, Reporter(environment, log, events), datetime.now(UTC), 1.0).run()
    os.close(descriptor)
    return code
