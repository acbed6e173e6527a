"""``python -m airflow_sop_provider.migrations REVISION``: takes the engine's tables back.

`airflow db migrate` brings them along; `airflow db downgrade` knows Airflow's own tables alone.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from airflow.utils.session import create_session

from airflow_sop_provider.migrations.manager import SopDBManager

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Downgrade; return the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m airflow_sop_provider.migrations", description="Take the engine's tables to an earlier revision."
    )
    parser.add_argument("revision", help="such as 0001; `base` removes the tables with all that is in them")
    parser.add_argument("--sql", action="store_true", help="print the statements and run none")
    parser.add_argument("--yes", action="store_true", help="do not ask")
    options = parser.parse_args(arguments)
    if not (options.yes or options.sql) and input("Data will be lost. Go on? [y/N] ").strip().lower() != "y":
        return 1
    with create_session(scoped=False) as session:
        manager = SopDBManager(session)  # type: ignore[no-untyped-call]  # Airflow's base class
        manager.downgrade(options.revision, show_sql_only=options.sql)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
