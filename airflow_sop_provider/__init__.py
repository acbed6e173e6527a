"""The SOP execution engine for Airflow.

Deliberately light: Airflow, the CLI and every container import this package, so nothing
heavy may be imported here. Airflow's provider discovery calls `get_provider_info`.
"""

from __future__ import annotations

from typing import Any

__all__ = ["__version__", "get_provider_info"]

__version__ = "0.1.0"


def get_provider_info() -> dict[str, Any]:
    """Return the provider's metadata in the form of Airflow's ``provider_info`` schema."""
    from airflow_sop_provider.provider_info import PROVIDER_INFO

    return PROVIDER_INFO
