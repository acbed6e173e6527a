"""``python -m airflow_sop_provider.runner``."""

from airflow_sop_provider.runner.main import main

if __name__ == "__main__":
    main()
