"""Options that commands share, and the moments they take."""

from __future__ import annotations

from datetime import UTC, datetime

import click

__all__ = ["AS_JSON", "MOMENT", "SECONDS", "STATUSES", "URL"]

STATUSES = ("SUBMITTED", "QUEUED", "RUNNING", "COMPLETED", "PARTIALLY_COMPLETED", "FAILED", "CANCELLED")
"""`engine.execution_state.ExecutionStatus`, whose import would delay help and completion."""

URL = click.option(
    "--url",
    envvar="SOP_URL",
    default="http://127.0.0.1:8080",
    show_default=True,
    help="Airflow's API server (SOP_URL).",
)
AS_JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON instead of text.")


class _Moment(click.ParamType[datetime]):
    name = "moment"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        """Return a moment: a duration means that long ago, a time without a zone is UTC."""
        from airflow_sop_provider.sop.durations import parse_duration

        if isinstance(value, datetime):
            return value
        text = str(value)
        try:
            given = datetime.fromisoformat(text)
        except ValueError:
            try:
                return datetime.now(UTC) - parse_duration(text)
            except ValueError:
                self.fail(f"{text!r}: write how long ago (90s, 2h, 7d) or a time such as 2026-11-25T08:00", param, ctx)
        return given if given.tzinfo is not None else given.replace(tzinfo=UTC)


class _Seconds(click.ParamType[float]):
    name = "duration"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Return the seconds of a duration such as 90s or 2h."""
        from airflow_sop_provider.sop.durations import parse_duration

        if isinstance(value, float):
            return value
        try:
            return parse_duration(str(value)).total_seconds()
        except ValueError as error:
            self.fail(str(error), param, ctx)


MOMENT = _Moment()
SECONDS = _Seconds()
