from tests.airflow_env import airflow_database, configure

__all__ = ["airflow_database", "configure"]
