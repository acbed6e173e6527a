"""The program inside the container: executes one attempt of one step and says what it came to.

Light on purpose: a deterministic step acts within half a second of its process's start, so
nothing here imports Airflow or ADK, and Jinja2, jsonschema and MCP are imported where a step
needs them. ``python -m airflow_sop_provider.runner`` runs it; the environment it reads is
described in `airflow_sop_provider.runner.environment`.
"""
