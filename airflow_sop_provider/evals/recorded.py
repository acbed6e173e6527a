"""Recorded results of tools: a suite whose cases need no server and no network, and come out the same every time."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from typing import Any

from airflow_sop_provider.contract.exit_codes import ErrorType, ExitCode
from airflow_sop_provider.evals.compare import same
from airflow_sop_provider.evals.models import RecordedResult
from airflow_sop_provider.runner.failures import StepFailureError, bad_configuration
from airflow_sop_provider.runner.step_context import ToolCaller
from airflow_sop_provider.runner.values import to_json

__all__ = ["RecordedCaller"]


class RecordedCaller:
    """Answers calls of one execution with recorded results; the first that fits and is not used up.

    :param servers: data source -> server, as the SOP has them.
    :param otherwise: what calls where nothing was recorded, None: that is an error.
    """

    def __init__(
        self, recorded: Iterable[RecordedResult], servers: Mapping[str, str], otherwise: ToolCaller | None = None
    ) -> None:
        self._servers = servers
        self._otherwise = otherwise
        self._left: dict[tuple[str, str], list[tuple[RecordedResult, list[int]]]] = {}
        for one in recorded:
            source, _, tool = one.tool.partition(".")
            uses = [one.times if one.times is not None else -1]
            self._left.setdefault((servers.get(source, source), tool), []).append((one, uses))

    def __call__(self, server: str, tool: str, arguments: dict[str, Any], limit: float | None) -> Any:
        """Return the recorded result of a call.

        :raises StepFailureError: the recorded failure, or exit 78 (``not-recorded``) where there is no result.
        """
        for one, uses in self._left.get((server, tool), ()):
            if uses[0] != 0 and (one.arguments is None or same(one.arguments, arguments)):
                uses[0] -= 1
                return _answer(one)
        if self._otherwise is not None:
            return self._otherwise(server, tool, arguments, limit)
        raise bad_configuration(
            "not-recorded",
            f"The suite has no recorded result for `{server}.{tool}` with these arguments, and no `fleet`. "
            "Record one, or name a fleet.",
            arguments=arguments,
        )


def _answer(one: RecordedResult) -> Any:
    if one.error is None:
        return to_json(copy.deepcopy(one.result), "result")
    transient = one.error.type is ErrorType.TRANSIENT
    code = ExitCode.TRANSIENT if transient else ExitCode.NOT_RETRYABLE
    raise StepFailureError(one.error.type, code, "mcp-tool-error", f"`{one.tool}` failed: {one.error.message}")
