"""Makes `airflow db migrate` bring the engine's tables along; provider metadata names it under ``db-managers``."""

from __future__ import annotations

from pathlib import Path

from airflow.utils.db_manager import BaseDBManager

from airflow_sop_provider.store.tables import metadata as engine_metadata

__all__ = ["SopDBManager"]

_FOLDER = Path(__file__).parent


class SopDBManager(BaseDBManager):
    """Creates, upgrades and drops the engine's tables."""

    metadata = engine_metadata
    version_table_name = "alembic_version_sop"
    migration_dir = str(_FOLDER)
    alembic_file = str(_FOLDER / "alembic.ini")
    supports_table_dropping = True
    revision_heads_map = {"0.1.0": "0001"}  # noqa: RUF012  Airflow declares a plain class attribute
