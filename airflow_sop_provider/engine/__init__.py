"""Rules of executions that need neither Airflow nor a container runtime.

What an attempt is given (`assignments`, `attempts`), what its end means (`failures`, `retries`,
`rollback`, `priorities`) and what an execution came to (`execution_state`). Pure functions: executor, operator and
`make run` all ask here, so that they cannot disagree.
"""
