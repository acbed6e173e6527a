"""A client of the engine over HTTP, for Python programs and the command line."""
