"""When scheduled executions start."""
