"""Figures in Prometheus' text format, made by Prometheus' own client, which knows what has to be escaped."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from airflow_sop_provider.store.happenings import Levels
from airflow_sop_provider.store.metrics import Durations, Metrics

__all__ = ["CONTENT_TYPE", "exposition"]

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_BREAKER_STATES = ("closed", "open", "probing")


def exposition(found: Metrics, levels: Levels) -> str:
    """Return figures of a window and levels of now as text; what is not known has no sample."""
    registry = CollectorRegistry()
    registry.register(_Once([*_of_window(found), *_of_now(levels)]))
    return generate_latest(registry).decode()


class _Once(Collector):
    def __init__(self, families: list[GaugeMetricFamily]) -> None:
        self._families = families

    def collect(self) -> Iterable[GaugeMetricFamily]:
        return self._families


def _of_window(found: Metrics) -> Iterable[GaugeMetricFamily]:
    counts = {status: count for status, count in found.counts.items() if status != "total"}
    yield _family("sop_executions", "Executions of the last hour by status", counts, "status")
    yield _one("sop_success_rate", "Share of COMPLETED among the executions that ended", found.success_rate)
    yield _durations("sop_duration_seconds", "Duration of executions that ended", {"": found.durations}, None)
    yield _durations("sop_duration_by_mode_seconds", "The same by mode", found.by_mode, "mode")
    yield _durations("sop_duration_by_control_seconds", "The same by control", found.by_control, "control")
    for label, groups in (("mode", found.by_mode), ("control", found.by_control)):
        rates = {name: one.success_rate for name, one in groups.items() if one.success_rate is not None}
        yield _family(f"sop_success_rate_by_{label}", f"Share of COMPLETED by {label}", rates, label)
        ended = {name: one.ended for name, one in groups.items()}
        yield _family(f"sop_executions_ended_by_{label}", f"Executions that ended, by {label}", ended, label)
    yield _one("sop_attempts", "Attempts that ended", found.attempts)
    yield _family("sop_attempt_errors", "Attempts that ended with an error, by its type", found.errors, "type")
    yield _family("sop_attempt_error_rate", "Their share of all attempts that ended", found.error_rate, "type")
    yield _one("sop_cpu_seconds", "CPU time of the attempts that ended", found.cpu_seconds)
    yield _one("sop_cpu_utilisation", "CPU time used, as share of what was requested", found.cpu_utilisation)
    yield _one("sop_peak_memory_bytes", "Highest peak of memory of an attempt", found.peak_memory_bytes)
    yield _one("sop_memory_utilisation", "Peak memory, as share of what was requested", found.memory_utilisation)
    yield _one("sop_network_received_bytes", "Received by the attempts that ended", found.network_received_bytes)
    yield _one("sop_network_sent_bytes", "Sent by the attempts that ended", found.network_sent_bytes)
    rate = found.network_bytes_per_second
    yield _one("sop_network_bytes_per_second", "Received and sent in a second of an attempt", rate)
    yield _one("sop_queue_depth", "Executions that wait now", found.queue_depth)


def _of_now(levels: Levels) -> Iterable[GaugeMetricFamily]:
    yield _one("sop_attempts_running", "Attempts that run now", levels.running_attempts)
    yield _one("sop_alerts_unacknowledged", "Alerts that nobody has acknowledged", levels.alerts)
    yield _family("sop_escalations", "Escalations that wait, or were given up", levels.deliveries, "state")
    states = GaugeMetricFamily(
        "sop_breaker_state", "Whether a server's circuit breaker is in this state", labels=("server", "state")
    )
    for server, (state, _) in levels.breakers.items():
        for name in _BREAKER_STATES:
            states.add_metric((server, name), float(state == name))
    yield states
    ratios = {server: ratio for server, (_, ratio) in levels.breakers.items()}
    yield _family("sop_breaker_failure_ratio", "Share of failures among a server's last requests", ratios, "server")


def _one(name: str, text: str, value: float | None) -> GaugeMetricFamily:
    family = GaugeMetricFamily(name, text)
    if value is not None:
        family.add_metric((), value)
    return family


def _family(name: str, text: str, values: Mapping[str, float], label: str) -> GaugeMetricFamily:
    family = GaugeMetricFamily(name, text, labels=(label,))
    for key, value in values.items():
        family.add_metric((key,), value)
    return family


def _durations(name: str, text: str, groups: Mapping[str, Durations], label: str | None) -> GaugeMetricFamily:
    family = GaugeMetricFamily(name, text, labels=("figure",) if label is None else (label, "figure"))
    for key, found in groups.items():
        for figure, value in (("mean", found.mean), ("p95", found.p95), ("p99", found.p99)):
            if value is not None:
                family.add_metric((figure,) if label is None else (key, figure), value)
    return family
