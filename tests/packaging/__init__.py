"""Tests of the distribution: what is in the wheel, and what Airflow finds of it."""
