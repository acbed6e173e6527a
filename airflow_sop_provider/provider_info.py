"""The provider's metadata, and the one place where the ``[sop]`` options are declared.

Airflow reads it at start (entry point ``apache_airflow_provider``), shows the options in
``airflow config list`` and takes their defaults from here; `airflow_sop_provider.airflow_settings`
reads them typed. Plain data, so that provider discovery costs nothing.
"""

from __future__ import annotations

from typing import Any

__all__ = ["CONFIG_SECTION", "PROVIDER_INFO"]

CONFIG_SECTION = "sop"


def _option(description: str, default: str, *, kind: str = "string", example: str | None = None) -> dict[str, Any]:
    return {
        "description": description + "\n",
        "version_added": "0.1.0",
        "type": kind,
        "example": example,
        "default": default,
    }


_OPTIONS: dict[str, dict[str, Any]] = {
    "runtime": _option(
        "Where attempts run: ``kubernetes``, ``docker``, ``local``, or some of them with commas: the first that is"
        " there. ``auto`` is all three in this order.",
        "auto",
        example="docker, local",
    ),
    "sops_folder": _option(
        "Folder of SOP documents. Empty: the folder ``sops`` in the folder of Airflow (AIRFLOW_HOME).",
        "",
        example="/opt/sops",
    ),
    "work_folder": _option("Where the local runtime keeps its attempts. Empty: ``sop/attempts`` in AIRFLOW_HOME.", ""),
    "fleet_file": _option("The MCP servers SOPs may name as data sources. Empty: ``fleet.yaml`` in AIRFLOW_HOME.", ""),
    "heartbeat_seconds": _option("How often the executor renews the heartbeat of its tasks.", "30", kind="float"),
    "api_concurrency": _option(
        "Calls of the executor to Airflow's API server under way at once.", "10", kind="integer"
    ),
    "poll_seconds": _option("How often a runtime looks where nothing notifies it.", "0.2", kind="float"),
    "termination_grace_seconds": _option(
        "Seconds between asking an attempt to end and killing it. A cancelled step is gone within 2 s by default.",
        "1.5",
        kind="float",
    ),
    "keep_failed_seconds": _option(
        "Seconds for which our executor leaves the container of a failed attempt after its end, for a person to look"
        " at. One that succeeded or was stopped is removed at once.",
        "0",
        kind="float",
        example="3600",
    ),
    "output_limit": _option("Largest outputs of a step, in bytes of JSON.", "1048576", kind="integer"),
    "refresh_seconds": _option("How often a bundle looks for new, changed and deleted SOPs.", "5", kind="integer"),
    "max_active_runs": _option("Runs of one SOP that may be active at once.", "4096", kind="integer"),
    "max_active_tasks": _option("Steps of one execution that may be active at once.", "1024", kind="integer"),
    "paused_upon_creation": _option("Whether a new SOP waits to be unpaused before it runs.", "False", kind="boolean"),
    "docker_network": _option("Network of a step's container on Docker.", "bridge"),
    "image": _option(
        "Image of a step's container on Kubernetes and Docker. Empty: ``airflow-sop-runner`` with the provider's"
        " version as tag.",
        "",
    ),
    "engine_url": _option(
        "Address at which a step's pod reaches the engine, which Airflow's API server serves. With it every pod gets a"
        " short-lived token of its own for the engine and nothing else. Empty: no token, and steps call no engine.",
        "",
        example="http://airflow-api-server.airflow:8080/sop",
    ),
    "fleet_url": _option(
        "Address of the fleet's gateway where it runs on its own (``sop fleet serve``, a Deployment of the chart), with"
        " ``engine_url`` set. Empty: the gateway in the API server.",
        "",
        example="http://sop-engine-fleet.airflow:8443/fleet",
    ),
    "approver_groups": _option(
        "Groups of people that the ``by`` of an approval may name, beside users and roles: a JSON object, group to list"
        " of user names.",
        "",
        example='{"treasury-lead": ["anna", "tom"]}',
    ),
    "alert_factor": _option(
        "An execution that takes more than so many times its expected duration is flagged and escalated, once."
        " Expected is what its SOP declares (``expected_duration``), else the median of its control type's completed"
        " executions.",
        "2",
        kind="float",
        example="1.5",
    ),
    "alert_history": _option(
        "So many completed executions of a control type tell how long one takes; with fewer there is no such alert"
        " without ``expected_duration``.",
        "5",
        kind="integer",
    ),
    "alert_look_back_days": _option(
        "An execution that took too long is flagged also if it ended while nothing of the engine was running, up to so"
        " many days ago.",
        "7",
        kind="float",
    ),
    "api_calls_per_minute": _option(
        "Requests that one token of a user may send to the engine in a minute, to each process of the API server; then"
        " it is answered 429 with Retry-After.",
        "18000",
        kind="integer",
    ),
    "api_body_bytes": _option(
        "Largest body of a user's request, in bytes; a larger one is answered 413.", "1048576", kind="integer"
    ),
    "runner_calls_per_minute": _option(
        "The same of one attempt, which reports every second while it runs.", "1200", kind="integer"
    ),
    "runner_body_bytes": _option("Largest body of a runner's request, in bytes.", "8388608", kind="integer"),
    "escalation_channels": _option(
        "Who hears of every escalation, beside those that an SOP names: a JSON list of notifiers of Airflow, each with"
        " ``notifier`` (dotted path of its class) and ``kwargs``. Secrets belong into connections, not here.",
        "",
        example='[{"notifier": "airflow_sop_provider.notifications.webhook.WebhookNotifier",'
        ' "kwargs": {"conn_id": "ops"}}]',
    ),
    "escalation_tries": _option(
        "After so many tries, 1, 2, 4 ... seconds and then 5 minutes apart, an escalation is given up and listed.",
        "15",
        kind="integer",
    ),
    "escalation_per_minute": _option("Messages that one channel is sent in a minute.", "30", kind="integer"),
    "namespace": _option("Namespace of a step's pod. Empty: that of the Kubernetes connection.", ""),
    "pod_template_file": _option(
        "YAML file with the pod that every step's pod begins as: node selectors, tolerations, pull secrets.",
        "",
    ),
    "model_secrets": _option(
        "Keys of models in steps' pods, as JSON: variable that ``models.yaml`` reads -> ``SECRET/KEY``, a Secret of the"
        " pods' namespace and a key in it. Only the pod of an attempt that asks a model gets the variables it reads.",
        "",
        example='{"OPENAI_API_KEY": "model-keys/openai"}',
    ),
    "realtime_slots": _option(
        "Slots of the pool ``sop_realtime`` when it is created; a slot is a quarter of a core. Afterwards the UI's"
        " page of pools decides.",
        "4096",
        kind="integer",
    ),
    "batch_slots": _option("Slots of the pool ``sop_batch`` when it is created.", "4096", kind="integer"),
    "gpu_resource": _option("What a GPU is called on the cluster's nodes.", "nvidia.com/gpu"),
    "audit_key_file": _option(
        "File of the key that signs the audit log's digests, mode 0600; made when it is missing. Several API servers"
        " need the same one. Empty: ``sop/audit.key`` in AIRFLOW_HOME.",
        "",
    ),
    "audit_signing_key": {
        **_option(
            "That key itself, 64 hex digits; then there is no file. Best given by ``audit_signing_key_secret``.", ""
        ),
        "sensitive": True,
    },
    "audit_digest_folder": _option(
        "Where signed digests of the audit log are written beside the database: a folder, or an address that Airflow's"
        " ObjectStoragePath knows, best one where nothing can be overwritten. Empty: ``sop/audit-digests`` in"
        " AIRFLOW_HOME.",
        "",
        example="s3://aws_audit@compliance-bucket/sop-digests",
    ),
    "audit_retention_days": _option(
        "Days for which the audit log of an execution that is over is kept; at least 90. Legal holds keep it longer.",
        "400",
        kind="integer",
    ),
    "priority_class_prefix": _option(
        "Prefix of the PriorityClasses of steps' pods: with ``sop`` those of a critical execution have the class"
        " ``sop-critical``. Empty: the cluster's default class.",
        "",
        example="sop",
    ),
}

PROVIDER_INFO: dict[str, Any] = {
    "package-name": "airflow-sop-provider",
    "name": "SOP execution engine",
    "description": "Standard operating procedures in YAML become DAGs whose steps run isolated and audited.\n",
    "integrations": [
        {"integration-name": "SOP", "external-doc-url": "https://airflow.apache.org/docs/", "tags": ["software"]},
    ],
    "hooks": [{"integration-name": "SOP", "python-modules": ["airflow_sop_provider.hooks.mcp"]}],
    "connection-types": [
        {
            "connection-type": "mcp",
            "hook-class-name": "airflow_sop_provider.hooks.mcp.McpHook",
            "hook-name": "MCP server",
            "ui-field-behaviour": {
                "hidden-fields": ["schema", "port"],
                "relabeling": {"host": "URL", "login": "Client id (OAuth)", "password": "Token, key or client secret"},
                "placeholders": {"host": "https://fleet.example.com/mcp"},
            },
            "conn-fields": {
                "auth": {
                    "label": "Credential",
                    "schema": {
                        "type": ["string", "null"],
                        "enum": ["none", "bearer", "api_key", "oauth"],
                        "default": "bearer",
                    },
                },
                "header": {"label": "Header of the API key", "schema": {"type": ["string", "null"]}},
                "issuer": {
                    "label": "Issuer of the authorization server (OAuth)",
                    "schema": {"type": ["string", "null"]},
                },
                "scope": {"label": "Scope (OAuth)", "schema": {"type": ["string", "null"]}},
                "timeout": {"label": "Seconds for one answer", "schema": {"type": ["number", "null"]}},
                "max_calls_per_minute": {"label": "Calls a minute", "schema": {"type": ["integer", "null"]}},
                "record_content": {
                    "label": "Keep content in the audit log",
                    "schema": {"type": ["boolean", "null"], "default": False},
                },
            },
        }
    ],
    "operators": [{"integration-name": "SOP", "python-modules": ["airflow_sop_provider.operators.sop_step"]}],
    "bundles": [{"integration-name": "SOP", "python-modules": ["airflow_sop_provider.bundles.sop_bundle"]}],
    "db-managers": ["airflow_sop_provider.migrations.manager.SopDBManager"],
    "executors": ["airflow_sop_provider.executors.sop_executor.SopExecutor"],
    # Without a "cli" section every `airflow` command imports the executor to ask it for commands.
    "cli": ["airflow_sop_provider.provider_info.airflow_commands"],
    "config": {
        CONFIG_SECTION: {
            "description": "Options of the SOP execution engine.",
            "options": _OPTIONS,
        }
    },
}


def airflow_commands() -> list[Any]:
    """Return the commands added to `airflow`: none, the command line of this distribution is `sop`."""
    return []
