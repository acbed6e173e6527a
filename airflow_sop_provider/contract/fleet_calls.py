"""What runner and gateway say to each other beside MCP: keys of ``_meta``, and a failed call's error type.

A failed call is an ordinary MCP result with ``isError``, so that any MCP client (an agent's, too) can read it; what a
deterministic step needs beyond the text stands in ``_meta``.
"""

from __future__ import annotations

__all__ = ["ERROR_META", "ERROR_TYPE_META", "GATEWAY_PATH", "MAX_RETRIES_META", "ORDINAL_META", "PROTOCOL_VERSION"]

ERROR_TYPE_META = "airflow-sop/error-type"
"""Key of a failed result's ``_meta`` by which a server may say ``transient``; a tool's failure is permanent else."""

ERROR_META = "airflow-sop/error"
"""Key of a failed result's ``_meta`` in which the gateway says ``type``, ``exit_code``, ``code`` and ``details``."""

ORDINAL_META = "airflow-sop/ordinal"
"""Key of a request's ``_meta``: the how-manieth call with these arguments this is in its step, from 0. With it the
gateway makes an idempotency key, so that a repeated attempt does not repeat a call that had an effect."""

MAX_RETRIES_META = "airflow-sop/max-retries"
"""Key of a request's ``_meta``: retries the step allows; the gateway makes at most three."""

GATEWAY_PATH = "/{server}/mcp"
"""Path of a server's endpoint below the gateway's address."""

PROTOCOL_VERSION = "2026-07-28"
"""MCP's version in which a call is one request without a handshake."""
