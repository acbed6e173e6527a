"""The MCP fleet: which servers exist and how they are reached. No Airflow here.

Light on purpose: the runner imports `fleet.registry` at the start of every tool step.
"""
