"""Airflow notifiers of the engine's own; any other notifier serves an escalation as well."""
