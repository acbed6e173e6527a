"""Starts the runner from a copy of it (`runner.portable`): run as a file, knows its packages by its own place."""

import sys
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[2]))
    from airflow_sop_provider.runner.main import main

    main()
