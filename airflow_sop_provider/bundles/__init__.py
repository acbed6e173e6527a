"""DAG bundles of the engine."""
