"""Ordinary DAGs beside the SOPs: one for the LocalExecutor, one that asks for an executor it cannot have."""

from airflow.providers.standard.operators.bash import BashOperator
from airflow.sdk import DAG

with DAG("plain", schedule=None):
    BashOperator(task_id="hello", bash_command="echo hello from the LocalExecutor")

with DAG("misplaced", schedule=None):
    BashOperator(task_id="hello", bash_command="echo never", executor="sop", retries=2)
