"""The journal of an agent's calls: each is noted before it is made and again when it was answered.

So the next attempt knows what is done and what was under way. A call that was answered is never made again: the
answer is given anew. One that was under way and may have changed something is settled before the agent starts:
by the gateway, which remembers calls by their key, or else by a person.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any

from airflow_sop_provider.contract.exit_codes import ErrorType, ExitCode
from airflow_sop_provider.runner.agents.budget import Spent
from airflow_sop_provider.runner.agents.checkpoint import Call, Checkpoint, Progress
from airflow_sop_provider.runner.failures import StepFailureError

__all__ = ["Journal", "interrupted"]


class Journal:
    """Progress of this execution's agent, kept at each change.

    :param execution: id of the execution; part of each call's key.
    """

    def __init__(self, progress: Progress, store: Checkpoint, execution: str) -> None:
        self.progress = progress
        self.elsewhere = Spent()
        """What agents of other steps of the execution have spent, as the store said last."""
        self._store = store
        self._execution = execution
        self._replayed: set[str] = set()

    @classmethod
    async def open(cls, store: Checkpoint, execution: str) -> Journal:
        """Return the journal with what earlier attempts left."""
        return cls(await store.load() or Progress(), store, execution)

    @property
    def resumed(self) -> bool:
        """Whether an earlier attempt left anything."""
        return bool(self.progress.outputs or self.progress.calls or self.progress.spent.model_calls)

    def answered(self, step: str, tool: str, arguments: dict[str, Any]) -> Call | None:
        """Return an earlier attempt's answered call that this one repeats; each is used once, in order."""
        for call in self.progress.calls:
            same = (call.step, call.tool, call.arguments) == (step, tool, arguments)
            if same and call.state == "done" and call.key not in self._replayed:
                self._replayed.add(call.key)
                return call
        return None

    async def begin(self, step: str, tool: str, arguments: dict[str, Any], *, effect: bool) -> Call:
        """Note that a call is about to be made."""
        ordinal = sum((call.tool, call.arguments) == (tool, arguments) for call in self.progress.calls)
        key = self._key(step, tool, arguments)
        call = Call(key=key, step=step, tool=tool, arguments=arguments, effect=effect, ordinal=ordinal)
        self._replayed.add(call.key)
        self.progress.calls.append(call)
        await self.save()
        return call

    async def end(self, call: Call, result: Any) -> None:
        """Note what a call was answered with."""
        call.state, call.result = "done", result
        await self.save()

    async def fail(self, call: Call) -> None:
        """Note that a call was answered with a failure."""
        call.state = "failed"
        await self.save()

    async def forget(self, call: Call) -> None:
        """Remove a call that changed nothing, so that it may be made again."""
        self.progress.calls.remove(call)
        await self.save()

    async def step_done(self, step: str, outputs: Any) -> None:
        """Note a step's outputs."""
        self.progress.outputs[step] = outputs
        await self.save()

    async def save(self) -> None:
        """Keep everything as it is now."""
        self.elsewhere = await self._store.save(self.progress) or self.elsewhere

    @property
    def unanswered(self) -> list[Call]:
        """Calls that were under way when an earlier attempt ended."""
        return [call for call in self.progress.calls if call.state == "begun"]

    def _key(self, step: str, tool: str, arguments: dict[str, Any]) -> str:
        same = [
            call for call in self.progress.calls if (call.step, call.tool, call.arguments) == (step, tool, arguments)
        ]
        identity = [self._execution, step, tool, arguments, len(same)]
        return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()


def interrupted(call: Call) -> StepFailureError:
    """Return the failure of an attempt that cannot know whether an earlier one's call took effect."""
    return StepFailureError(
        ErrorType.PERMANENT,
        ExitCode.NOT_RETRYABLE,
        "agent-interrupted-call",
        f"`{call.tool}` was under way when the container ended, and may have taken effect; it is not repeated blindly. "
        "See whether it did, and clear the task if it did not.",
        {"tool": call.tool, "step": call.step, "key": call.key},
    )
