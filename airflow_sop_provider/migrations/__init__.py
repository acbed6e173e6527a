"""The engine's tables in Airflow's metadata database, with an alembic history of their own."""
