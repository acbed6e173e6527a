"""Airflow's database for tests of listeners."""

from tests.airflow_env import airflow_database

__all__ = ["airflow_database"]
