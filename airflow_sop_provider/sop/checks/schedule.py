"""Cron expressions and time zones, checked by the libraries that will interpret them."""

from __future__ import annotations

import functools
from datetime import UTC, datetime

from airflow_sop_provider.sop.checks.document import Document
from airflow_sop_provider.sop.problems import nearest

__all__ = ["check_schedule"]

_PRESETS = frozenset({"@hourly", "@daily", "@weekly", "@monthly", "@yearly"})
_FIELDS = 5
_LONGEST = 200


def check_schedule(document: Document) -> None:
    """Report a bad cron expression and an unknown time zone."""
    schedule = document.mapping("schedule")
    cron, timezone = schedule.get("cron"), schedule.get("timezone")
    if isinstance(cron, str) and cron:
        reason = cron_error(cron)
        if reason:
            document.report("bad-cron", f"the cron expression {reason}", ("schedule", "cron"),
                            "minute hour day month weekday, for example `0 1 * * 1-5`")  # fmt: skip
    if isinstance(timezone, str) and timezone and not _is_timezone(timezone):
        document.report("bad-timezone", f"there is no time zone `{timezone[:60]}`", ("schedule", "timezone"),
                        _nearest_timezone(timezone))  # fmt: skip


@functools.lru_cache(maxsize=1024)
def cron_error(cron: str) -> str | None:
    """Return what is wrong with a cron expression, as the end of a sentence; None if it is good."""
    if cron in _PRESETS:
        return None
    fields = cron.split()
    if cron.startswith("@"):
        return f"`{cron[:40]}` is no preset; known are {', '.join(sorted(_PRESETS))}"
    if len(fields) != _FIELDS or len(cron) > _LONGEST:
        return f"has {len(fields)} fields, not {_FIELDS}"
    # Imported here: it is dear, and few SOPs have a schedule.
    from croniter import CroniterBadDateError, croniter  # type: ignore[import-untyped]  # it ships no types

    try:
        croniter(cron, datetime(2024, 1, 1, tzinfo=UTC)).get_next(datetime)
    except CroniterBadDateError:
        return "names a date that never comes"
    except (ValueError, KeyError, TypeError, AttributeError, ArithmeticError) as error:
        return f"is not valid: {error}"
    return None


@functools.lru_cache(maxsize=1024)
def _is_timezone(name: str) -> bool:
    from zoneinfo import ZoneInfo

    try:
        ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        return False
    return True


def _nearest_timezone(name: str) -> str | None:
    from zoneinfo import available_timezones

    match = nearest(name, available_timezones())
    return f"did you mean `{match}`?" if match else "use an IANA name, for example Europe/Berlin"
