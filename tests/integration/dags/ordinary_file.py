"""SOPs in an ordinary DAG file, for people who prefer one."""

from pathlib import Path

from dag_factory import load_sops

# airflow looks for DAGs only in files that name them
load_sops(Path(__file__).parent / "more_sops", globals())
