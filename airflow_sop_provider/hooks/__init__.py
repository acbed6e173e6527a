"""Airflow connections of this provider."""
