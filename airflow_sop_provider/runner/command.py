"""The kind ``command``: a program of the SOP's author, its output in the log, its results in a file.

The program stays in the attempt's process group, so that a runtime that ends the group ends it
too, whatever the runner is doing. It learns from ``SOP_OUTPUTS`` where to write its outputs (JSON).
Where the step names an image, a runtime has brought the runner into a container of it (`contract.portable`).
"""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
import threading
from collections import deque
from pathlib import Path
from typing import IO, Any

from airflow_sop_provider.contract.exit_codes import ErrorType, error_type_of_exit_code
from airflow_sop_provider.contract.portable import IMAGE_PROGRAM
from airflow_sop_provider.runner.failures import StepFailureError, bad_configuration, bad_data
from airflow_sop_provider.runner.programs import guarded, in_another_image, inherited_environment
from airflow_sop_provider.runner.step_context import StepContext
from airflow_sop_provider.runner.values import OUTPUTS_LIMIT

__all__ = ["LONGEST_LINE", "pump", "run_command"]

LONGEST_LINE = 64 * 1024
"""Bytes of output in one log line; longer lines go on in the next, so that memory stays bounded."""

_LAST_LINES = 10
_SIGNAL_BASE = 128
_DRAIN_SECONDS = 2.0  # for output of a program that ended while something it started still holds the pipe


def run_command(context: StepContext) -> Any:
    """Run the step's command and return its outputs, ``{"exit_code": 0}`` if it wrote none.

    :raises StepFailureError: with the program's own exit code if that is not 0; exit 65
        (``command-outputs``) if its outputs are not JSON or too large; exit 78 if it cannot be started,
        or if the step names an image and this is not a container of it.
    """
    image = context.step["command"].get("image")
    if image and not in_another_image():
        raise bad_configuration(
            "image-not-used", f"The step is to run in `{image}`, and this runner was not started in it. "
            "Bring Airflow's airflow-sop-provider to the runner's version.",
        )  # fmt: skip
    command = _rendered(context)
    program, *arguments = command["argv"]
    argv = guarded(program, arguments, "command-not-found")
    context.action("command", f"Running {' '.join(command['argv'])}", program=program)
    with tempfile.TemporaryDirectory(prefix="sop-command-") as folder:
        outputs = Path(folder) / "outputs.json"
        environment = {**inherited_environment(), **command["env"], "SOP_OUTPUTS": str(outputs)}
        code, last_lines = _run(context, argv, environment)
        if code != 0:
            raise _failure(program, code, last_lines)
        return _outputs(outputs)


def _rendered(context: StepContext) -> dict[str, Any]:
    command = context.render(context.step["command"], "command")
    head = command.get("command") or []
    argv = [head] if isinstance(head, str) else list(head)
    arguments = command.get("args") or []
    argv = [*argv, *arguments] if argv or not command.get("image") else _program_of_image(arguments)
    if not argv:
        raise bad_configuration("command-empty", "The step names no program: set `command.command` or `command.args`.")
    environment = {str(name): _text(value) for name, value in (command.get("env") or {}).items()}
    return {"argv": [_text(part) for part in argv], "env": environment}


def _program_of_image(arguments: list[Any]) -> list[Any]:
    """Return what the image itself would start with ``arguments``: its entry point, and without arguments its own."""
    known = os.environ.get(IMAGE_PROGRAM)
    if known is None:
        raise bad_configuration(
            "entry-point-unknown", "Kubernetes does not tell what an image starts by itself: name the program with "
            "`command.command`.",
        )  # fmt: skip
    program = json.loads(known)
    return [*program["entrypoint"], *(arguments or program["cmd"])]


def _text(value: object) -> str:
    """Return a rendered argument as a program gets it; what is not text goes as JSON."""
    return value if isinstance(value, str) else json.dumps(value, default=str)


def _run(context: StepContext, argv: list[str], environment: dict[str, str]) -> tuple[int, list[str]]:
    last_lines: deque[str] = deque(maxlen=_LAST_LINES)
    process = subprocess.Popen(  # noqa: S603 - running the SOP's program is this step's purpose
        argv, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    context.children.append(process.pid)
    assert process.stdout is not None
    assert process.stderr is not None
    pumps = [
        threading.Thread(target=pump, args=(stream, level, context, name, last_lines), daemon=True)
        for stream, level, name in ((process.stdout, "info", "stdout"), (process.stderr, "warning", "stderr"))
    ]
    for thread in pumps:
        thread.start()
    code = process.wait()
    context.children.remove(process.pid)
    for thread in pumps:
        thread.join(_DRAIN_SECONDS)
    return code, list(last_lines)


def pump(stream: IO[bytes], level: str, context: StepContext, source: str, last_lines: deque[str]) -> None:
    """Wrap each line of ``stream`` as a line of our log, until it ends."""
    while line := stream.readline(LONGEST_LINE):
        text = line.decode("utf-8", "replace").rstrip("\r\n")
        last_lines.append(text)
        context.log.line(level, text, source=source)


def _failure(program: str, code: int, last_lines: list[str]) -> StepFailureError:
    exit_code = _SIGNAL_BASE - code if code < 0 else code
    how = f"was ended by signal {-code}" if code < 0 else f"ended with exit code {code}"
    return StepFailureError(
        error_type_of_exit_code(exit_code) or ErrorType.CRASH,
        exit_code,
        "command-failed",
        f"`{program}` {how}. Its last lines are in the details and in the log.",
        {"exit_code": exit_code, "last_lines": [line[:500] for line in last_lines]},
    )


def _outputs(path: Path) -> Any:
    try:
        size = path.stat().st_size
    except FileNotFoundError:
        return {"exit_code": os.EX_OK}
    if size > 2 * OUTPUTS_LIMIT:  # spaces may go; the exact limit is checked on the value
        raise bad_data("output-too-large", f"The command wrote {size:,} bytes of outputs, more than {OUTPUTS_LIMIT:,}.")
    try:
        return json.loads(path.read_bytes(), parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise bad_data("command-outputs", f"What the command wrote to SOP_OUTPUTS is not JSON: {error}") from error


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")
