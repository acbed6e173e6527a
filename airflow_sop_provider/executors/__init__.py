"""The executor: one asynchronous child process that holds every running step.

Configure it by path, `airflow_sop_provider.executors.sop_executor.SopExecutor`; nothing is
imported here because Airflow imports this package in every component.
"""
