"""The engine's HTTP API inside Airflow's API server, and the work it does in the background."""
