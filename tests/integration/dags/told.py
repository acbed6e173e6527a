"""A DAG of people who use Airflow's own callbacks: its failure is told by the engine's notifier, without the engine."""

from airflow.providers.standard.operators.bash import BashOperator
from airflow.sdk import DAG

from airflow_sop_provider.notifications.webhook import WebhookNotifier

with DAG("told", schedule=None, on_failure_callback=WebhookNotifier(conn_id="callbacks", path="/dag")):
    BashOperator(
        task_id="fail", bash_command="exit 1", on_failure_callback=WebhookNotifier(conn_id="callbacks", path="/task")
    )
