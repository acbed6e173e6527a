"""alembic's entry: runs the engine's migrations on Airflow's database, and only on our own tables."""

from __future__ import annotations

from typing import Any

from airflow import settings
from alembic import context

from airflow_sop_provider.migrations.manager import SopDBManager

_OPTIONS: dict[str, Any] = {
    "target_metadata": SopDBManager.metadata,
    "version_table": SopDBManager.version_table_name,
    "compare_type": True,
    "render_as_batch": True,
    "include_object": lambda _object, name, kind, *_: kind != "table" or name in SopDBManager.metadata.tables,
}


def _migrate() -> None:
    if context.is_offline_mode():
        context.configure(url=settings.SQL_ALCHEMY_CONN, literal_binds=True, **_OPTIONS)
        with context.begin_transaction():
            context.run_migrations()
        return
    if settings.engine is None:
        raise RuntimeError("Airflow's database is not configured; run migrations with `airflow db migrate`.")
    with settings.engine.connect() as connection:
        context.configure(connection=connection, transaction_per_migration=True, **_OPTIONS)
        with context.begin_transaction():
            context.run_migrations()


_migrate()
