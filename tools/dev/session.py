"""What `make run` does between its start and Ctrl-C, in order: start, trigger, follow, show the result, stay.

Kept apart from `tools.dev.run` because it needs the installed environment.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
import time
from graphlib import TopologicalSorter
from pathlib import Path

from rich.console import Console

from tools.dev.instance import ADMIN, Instance, InstanceError
from tools.dev.progress import LineProgress, LiveProgress, duration, result_text, rows
from tools.dev.rest import AirflowApi, ApiError, StepState
from tools.dev.signals import Stopped
from tools.dev.supervisor import LocalAirflow, SupervisorError

__all__ = ["Session", "run_session"]

_POLL_SECONDS = 0.4
_OVER = ("success", "failed")
_APPEARS_SECONDS = 300.0
_LAST_WORDS = 5


def run_session(options: argparse.Namespace) -> int:
    """Carry out `make run`; return the exit code: 0 after Ctrl-C or a succeeded ``--once``."""
    try:
        return Session(options, Console(highlight=False, soft_wrap=True)).run()
    except Stopped:
        return 130 if options.once else 0
    except (SupervisorError, InstanceError, ApiError) as error:
        problem = str(error)
    except OSError as error:  # the terminal has gone, the disk is full, the folder is not ours
        problem = str(error)
    with contextlib.suppress(OSError):
        print(f"sop: {problem}", file=sys.stderr, flush=True)
    return 1


class Session:
    """One `make run`.

    :param options: what `tools.dev.run` parsed.
    :param console: where progress and result go.
    """

    def __init__(self, options: argparse.Namespace, console: Console) -> None:
        self.options = options
        self.console = console
        self.began = time.monotonic()

    def run(self) -> int:
        """Start Airflow, carry out the SOP, stay until a signal unless ``--once``; return the exit code."""
        home: Path = self.options.home.absolute()
        instance = Instance(home=home, sops=self.options.sops.absolute())
        self.console.print(f"Starting Airflow in {home} ...")
        try:
            with LocalAirflow(instance, self.options.port, self._say) as airflow:
                airflow.wait_until_ready()
                self._introduce(airflow.instance)
                airflow.start("triggerer")
                succeeded = self._carry_out(airflow)
                if self.options.once:
                    return 0 if succeeded else 1
                airflow.wait_until_ready(["triggerer"])
                self.console.print("\nAirflow stays up; press Ctrl-C to stop it.")
                while True:
                    airflow.check()
                    time.sleep(_POLL_SECONDS)
        finally:
            with contextlib.suppress(OSError):
                self.console.print("Stopped.")

    def _say(self, text: str) -> None:
        self.console.print(f"  {text} ({duration(time.monotonic() - self.began)})", markup=False)

    def _introduce(self, instance: Instance) -> None:
        self.console.print(f"Airflow: [bold]{instance.url}[/bold]  login: {ADMIN} / {instance.password}")

    def _carry_out(self, airflow: LocalAirflow) -> bool:
        sop: str = self.options.sop
        self._wait_for(airflow, sop)
        run = airflow.api.trigger(sop, self.options.conf)
        self.console.print(f"\nExecution of [bold]{sop}[/bold]: {airflow.instance.url}/dags/{sop}/runs/{run}")
        state = self._follow(airflow, sop, run)
        if state == "success":
            self._show_result(airflow, sop, run)
        else:
            self._show_failure(airflow.api, sop, run)
        return state == "success"

    def _wait_for(self, airflow: LocalAirflow, sop: str) -> None:
        """Return once the dag-processor has read the SOP as it is now."""
        limit = time.monotonic() + _APPEARS_SECONDS
        while True:
            airflow.check()
            dag = airflow.api.dag(sop)
            if dag and dag.read_at and dag.read_at >= airflow.started_at:
                break
            self._refuse_broken(airflow.api, sop, final=time.monotonic() > limit)
            time.sleep(_POLL_SECONDS)
        self._say(f"{sop} is read")
        if dag.paused:
            airflow.api.unpause(sop)

    def _refuse_broken(self, api: AirflowApi, sop: str, *, final: bool) -> None:
        errors = {str(error["filename"]): str(error["stack_trace"]).strip() for error in api.import_errors()}
        own = [text for file, text in errors.items() if Path(file).stem == sop]
        if own:
            raise SupervisorError(f"{sop} has an error:\n{own[0]}")
        if final:
            others = "".join(f"\n{text}" for text in errors.values())
            raise SupervisorError(
                f"there is no SOP {sop} in {self.options.sops}: name one with `make run SOP=`.{others}"
            )

    def _follow(self, airflow: LocalAirflow, sop: str, run: str) -> str:
        order = _order(airflow.api.dependents(sop))
        progress = LiveProgress(self.console) if self.console.is_terminal else LineProgress(self.console)
        with progress:
            while True:
                airflow.check()
                state = airflow.api.run_state(sop, run)  # before the steps: a run that is over has no later steps
                progress.show(rows(order, airflow.api.steps(sop, run)))
                if state in _OVER:
                    return state
                time.sleep(_POLL_SECONDS)

    def _show_result(self, airflow: LocalAirflow, sop: str, run: str) -> None:
        ends = [step for step, dependents in airflow.api.dependents(sop).items() if not dependents]
        found = {step: airflow.api.outputs(sop, run, step) for step in ends}
        results = {step: value for step, value in found.items() if value is not None}
        file = airflow.instance.home / "results" / f"{sop}.json"
        file.parent.mkdir(exist_ok=True)
        file.write_text(json.dumps(results, indent=2, ensure_ascii=False) + "\n")
        for step, value in results.items():
            text, left_out = result_text(value)
            self.console.print(f"\n[bold]Result of {step}[/bold]")
            self.console.print(text, markup=False)
            if left_out:
                self.console.print(f"... {left_out} more lines")
        self.console.print(f"\n[green]{sop} succeeded.[/green] All of the result: {file}")

    def _show_failure(self, api: AirflowApi, sop: str, run: str) -> None:
        self.console.print(f"\n[red]{sop} failed.[/red]")
        for step in api.steps(sop, run):
            if step.state == "failed":
                self._show_last_words(api, sop, run, step)

    def _show_last_words(self, api: AirflowApi, sop: str, run: str, step: StepState) -> None:
        self.console.print(f"{step.label}, attempt {step.attempt}:", markup=False)
        for line in api.log(sop, run, step)[-_LAST_WORDS:]:
            self.console.print(f"  {line}", markup=False)


def _order(dependents: dict[str, list[str]]) -> list[str]:
    """Return the steps so that each stands after those it needs."""
    sorter: TopologicalSorter[str] = TopologicalSorter({step: [] for step in dependents})
    for step, followers in dependents.items():
        for follower in followers:
            sorter.add(follower, step)
    return list(sorter.static_order())
