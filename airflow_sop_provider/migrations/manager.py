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

    def downgrade(self, to_revision: str, from_revision: str | None = None, show_sql_only: bool = False) -> None:
        """Take the engine's tables back to an earlier revision; `airflow db downgrade` leaves them alone.

        :param to_revision: ``base`` removes them with all that is in them.
        :param from_revision: only with ``show_sql_only``: not from where the database is.
        :param show_sql_only: print the statements, run none.
        :raises ValueError: ``from_revision`` without ``show_sql_only``.
        """
        from alembic import command

        if from_revision and not show_sql_only:
            raise ValueError("a database is downgraded from where it is: leave `from_revision` out")
        begin = from_revision or self.get_current_revision()  # type: ignore[no-untyped-call]  # Airflow's
        self.session.rollback()  # its look at the revision must not keep the tables locked
        revision = f"{begin}:{to_revision}" if show_sql_only else to_revision
        config = self.get_alembic_config()  # type: ignore[no-untyped-call]
        command.downgrade(config, revision=revision, sql=show_sql_only)
