"""Rules of executions that need neither Airflow nor a container runtime.

What a task carries (`payloads`), what an attempt is given (`assignments`, `attempts`), what its end
means (`failures`, `retries`, `rollback`, `rollback_order`, `priorities`) and what an execution came to
(`execution_state`). Pure functions: DAG factory, executor, operator, `make run` and `sop eval` all ask here, so
that they cannot disagree.
"""
