"""What Airflow takes from a plugin of ours."""
