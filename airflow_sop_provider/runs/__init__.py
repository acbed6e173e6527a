"""Airflow's DAG runs as executions: the one place that reads Airflow's tables and writes the engine's.

An execution is followed however it was started, and has its verdict even when nothing of ours ran at its end: whoever
meets a DAG run first opens its execution, and whoever sees it over closes it. Both may be done any number of times.
"""
