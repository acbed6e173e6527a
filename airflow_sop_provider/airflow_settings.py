"""The ``[sop]`` options of airflow.cfg, typed and with empty values resolved.

Operator, executor and bundle read the options through this one function, so that an option
means the same everywhere. Airflow is imported when they are read, not before: the module can
be imported by rooms that must stay free of Airflow until then.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import Field, TypeAdapter, ValidationError

from airflow_sop_provider.engine.alert_rules import OverrunRule
from airflow_sop_provider.provider_info import CONFIG_SECTION, PROVIDER_INFO
from airflow_sop_provider.runtimes.select import RUNTIMES, RuntimeSettings
from airflow_sop_provider.sop.models import Escalation

__all__ = [
    "ApiLimits",
    "EscalationSettings",
    "SettingsError",
    "SopSettings",
    "api_limits",
    "approver_groups",
    "engine_secret",
    "escalation_settings",
    "overrun_rule",
    "read_settings",
]

_DAYS_LIMIT = 36_500
_CHANNELS = TypeAdapter(list[Escalation])
_GROUPS = TypeAdapter(dict[str, list[str]])

_SECRETS = TypeAdapter(
    dict[
        Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")],
        Annotated[str, Field(pattern=r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?/[-._a-zA-Z0-9]+$")],
    ]
)

_OPTIONS: dict[str, dict[str, Any]] = PROVIDER_INFO["config"][CONFIG_SECTION]["options"]


class SettingsError(ValueError):
    """An option of ``[sop]`` has a value that cannot be used; the message names option and remedy."""


@dataclass(frozen=True, kw_only=True)
class SopSettings:
    """The options of section ``[sop]``; see `airflow_sop_provider.provider_info` for their meaning.

    :param runtime: where attempts run: the first of these that is there.
    :param sops_folder: folder of SOP documents, absolute.
    :param work_folder: the local runtime's attempts, absolute.
    :param fleet_file: MCP servers, absolute; need not exist.
    :param heartbeat_seconds: seconds between heartbeats.
    :param api_concurrency: calls to the API server under way at once.
    :param poll_seconds: seconds between looks where nothing notifies.
    :param termination_grace_seconds: seconds between SIGTERM and SIGKILL.
    :param keep_failed_seconds: how long the container of a failed attempt stays after its end.
    :param output_limit: bytes of JSON a step's outputs may have.
    :param refresh_seconds: seconds between two looks of a bundle.
    :param max_active_runs: active runs of one SOP.
    :param max_active_tasks: active steps of one execution.
    :param paused_upon_creation: whether a new SOP starts paused.
    :param image: image of a step's container.
    :param namespace: namespace of a step's pod, None for the connection's.
    :param pod_template_file: pod that every step's pod begins as, None for an empty one.
    :param model_secrets: variable that models.yaml reads, name of a Secret, key in it.
    :param realtime_slots: slots of a new pool ``sop_realtime``.
    :param batch_slots: slots of a new pool ``sop_batch``.
    :param gpu_resource: Kubernetes' name of a GPU.
    :param engine_url: where a step's pod reaches the engine, None: nowhere.
    :param fleet_url: where it reaches the fleet's gateway, None: at the engine.
    :param docker_network: network of Docker containers.
    :param audit_signing_key: 64 hex digits, None: the key is in ``audit_key_file``, which is made when it is missing.
    :param audit_digest_folder: second place of signed digests: a folder, or a URL that ObjectStoragePath knows.
    :param audit_retention_days: how long entries of an execution that is over are kept, at least 90.
    :param priority_class_prefix: prefix of the PriorityClasses of steps' pods, None for the cluster's default class.
    """

    runtime: tuple[str, ...]
    sops_folder: Path
    work_folder: Path
    fleet_file: Path
    heartbeat_seconds: float
    api_concurrency: int
    poll_seconds: float
    termination_grace_seconds: float
    keep_failed_seconds: float
    output_limit: int
    refresh_seconds: int
    max_active_runs: int
    max_active_tasks: int
    paused_upon_creation: bool
    image: str
    namespace: str | None
    pod_template_file: str | None
    priority_class_prefix: str | None
    realtime_slots: int
    batch_slots: int
    gpu_resource: str
    docker_network: str
    engine_url: str | None
    fleet_url: str | None = None
    model_secrets: tuple[tuple[str, str, str], ...] = ()
    audit_signing_key: str | None = field(default=None, repr=False)
    audit_key_file: Path = Path("sop/audit.key")
    audit_digest_folder: str = "sop/audit-digests"
    audit_retention_days: int = 400

    def of_runtimes(self) -> RuntimeSettings:
        """Return what the runtimes need of it."""
        return RuntimeSettings(
            work_folder=self.work_folder,
            scan_seconds=self.poll_seconds,
            namespace=self.namespace or "default",
            image=self.image,
            network=self.docker_network,
        )


def read_settings() -> SopSettings:
    """Return the options as Airflow's configuration (file, environment, defaults) has them now.

    :raises SettingsError: an option has a value that cannot be used.
    """
    home = _airflow_home()
    return SopSettings(
        runtime=_runtimes(_text("runtime")),
        sops_folder=_path("sops_folder", home / "sops"),
        work_folder=_path("work_folder", home / "sop" / "attempts"),
        fleet_file=_path("fleet_file", home / "fleet.yaml"),
        heartbeat_seconds=_number("heartbeat_seconds"),
        api_concurrency=int(_number("api_concurrency")),
        poll_seconds=_number("poll_seconds"),
        termination_grace_seconds=_number("termination_grace_seconds", minimum=0.0),
        keep_failed_seconds=_number("keep_failed_seconds", minimum=0.0),
        output_limit=int(_number("output_limit")),
        refresh_seconds=int(_number("refresh_seconds")),
        max_active_runs=int(_number("max_active_runs")),
        max_active_tasks=int(_number("max_active_tasks")),
        paused_upon_creation=_flag("paused_upon_creation"),
        image=_text("image") or _default_image(),
        namespace=_text("namespace") or None,
        pod_template_file=_text("pod_template_file") or None,
        priority_class_prefix=_text("priority_class_prefix") or None,
        model_secrets=_model_secrets(_text("model_secrets")),
        realtime_slots=int(_number("realtime_slots")),
        batch_slots=int(_number("batch_slots")),
        gpu_resource=_text("gpu_resource"),
        docker_network=_text("docker_network"),
        engine_url=_url("engine_url"),
        fleet_url=_url("fleet_url"),
        audit_signing_key=_text("audit_signing_key") or None,
        audit_key_file=_path("audit_key_file", home / "sop" / "audit.key"),
        audit_digest_folder=_text("audit_digest_folder") or str(home / "sop" / "audit-digests"),
        audit_retention_days=int(_number("audit_retention_days", minimum=90)),
    )


@dataclass(frozen=True, kw_only=True)
class EscalationSettings:
    """How escalations are delivered.

    :param channels: that hear of everything: ``notifier`` (dotted path) and ``kwargs`` each.
    :param tries: after so many a delivery is given up.
    :param per_minute: so many a channel is told in a minute.
    """

    channels: tuple[dict[str, Any], ...] = ()
    tries: int = 15
    per_minute: int = 30


def escalation_settings() -> EscalationSettings:
    """Return how escalations are delivered.

    :raises SettingsError: an option cannot be read; the message names it and says what to write.
    """
    try:
        channels = _CHANNELS.validate_json(_text("escalation_channels") or "[]")
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        raise SettingsError(
            f"[{CONFIG_SECTION}] escalation_channels: {first['msg']}; give a JSON list of objects with `notifier` and"
            " `kwargs`."
        ) from None
    return EscalationSettings(
        channels=tuple(channel.model_dump(mode="json") for channel in channels),
        tries=int(_number("escalation_tries")),
        per_minute=int(_number("escalation_per_minute")),
    )


def approver_groups() -> dict[str, list[str]]:
    """Return the site's own groups of people who may approve, user names by group.

    :raises SettingsError: the option cannot be read.
    """
    try:
        return _GROUPS.validate_json(_text("approver_groups") or "{}")
    except ValidationError:
        raise SettingsError(
            f'[{CONFIG_SECTION}] approver_groups: give a JSON object such as {{"treasury-lead": ["anna", "tom"]}}.'
        ) from None


def overrun_rule() -> OverrunRule:
    """Return when an execution takes too long.

    :raises SettingsError: an option cannot be read; the message names it.
    """
    return OverrunRule(
        factor=_number("alert_factor", minimum=1),
        minimum=int(_number("alert_history")),
        look_back=timedelta(days=min(_number("alert_look_back_days"), _DAYS_LIMIT)),
    )


@dataclass(frozen=True, kw_only=True)
class ApiLimits:
    """What ``[sop] api_*`` and ``runner_*`` allow.

    :param calls_per_minute: of one user's token.
    :param body_bytes: of one request of a user.
    :param runner_calls_per_minute: of one attempt.
    :param runner_body_bytes: of one request of a runner.
    """

    calls_per_minute: int = 18_000
    body_bytes: int = 1024 * 1024
    runner_calls_per_minute: int = 1_200
    runner_body_bytes: int = 8 * 1024 * 1024


def api_limits() -> ApiLimits:
    """Return how much of the engine one caller may ask for.

    :raises SettingsError: an option cannot be read; the message names it.
    """
    return ApiLimits(
        calls_per_minute=int(_number("api_calls_per_minute")),
        body_bytes=int(_number("api_body_bytes")),
        runner_calls_per_minute=int(_number("runner_calls_per_minute")),
        runner_body_bytes=int(_number("runner_body_bytes")),
    )


def engine_secret() -> str:
    """Return the secret that all components of an Airflow share, from which the engine's own keys are derived."""
    from airflow.configuration import conf

    return str(conf.get("api_auth", "jwt_secret", fallback="") or conf.get("api", "secret_key", fallback=""))


def _airflow_home() -> Path:
    from airflow.configuration import AIRFLOW_HOME

    return Path(AIRFLOW_HOME)


def _text(option: str) -> str:
    from airflow.configuration import conf

    # The fallback repeats the declared default: a checkout that is not installed has no entry point,
    # so Airflow does not know the provider's options there.
    return str(conf.get(CONFIG_SECTION, option, fallback=_OPTIONS[option]["default"]) or "").strip()


def _path(option: str, default: Path) -> Path:
    value = _text(option)
    return Path(value).expanduser().absolute() if value else default


def _url(option: str) -> str | None:
    """Return an address, None for an empty one; it is readable in every pod's spec, so it may hold no password."""
    text = _text(option)
    parts = urlsplit(text)
    if text and (parts.scheme not in ("http", "https") or not parts.hostname or "@" in parts.netloc):
        shown = text if "@" not in text else "not shown here, as it may hold a password"
        raise SettingsError(f"[{CONFIG_SECTION}] {option} is {shown}; give http(s)://HOST[:PORT][/PATH].")
    return text.rstrip("/") or None


def _number(option: str, *, minimum: float | None = None) -> float:
    """Return a number; without ``minimum`` it has to be above 0, and whole where the option is declared whole."""
    text = _text(option)
    try:
        number = int(text) if _OPTIONS[option]["type"] == "integer" else float(text)
    except ValueError:
        raise SettingsError(f"[{CONFIG_SECTION}] {option} is {text!r}; give a number.") from None
    too_small = number <= 0 if minimum is None else number < minimum
    if too_small:
        bound = "above 0" if minimum is None else f"of at least {minimum:g}"
        raise SettingsError(f"[{CONFIG_SECTION}] {option} is {text}; give a number {bound}.")
    return number


def _flag(option: str) -> bool:
    text = _text(option).lower()
    if text in {"true", "t", "1", "yes", "on"}:
        return True
    if text in {"false", "f", "0", "no", "off"}:
        return False
    raise SettingsError(f"[{CONFIG_SECTION}] {option} is {text!r}; give True or False.")


def _runtimes(text: str) -> tuple[str, ...]:
    names = RUNTIMES if text == "auto" else tuple(name.strip() for name in text.split(","))
    for name in names:
        if name not in RUNTIMES:
            known = ", ".join(("auto", *RUNTIMES[:-1]))
            raise SettingsError(
                f"[{CONFIG_SECTION}] runtime is {text!r}; give {known} or {RUNTIMES[-1]}, or some of them in order."
            )
    return names


def _model_secrets(text: str) -> tuple[tuple[str, str, str], ...]:
    try:
        given = _SECRETS.validate_json(text or "{}")
    except ValidationError as error:
        what = error.errors(include_url=False, include_input=False)[0]["msg"]
        raise SettingsError(
            f"[{CONFIG_SECTION}] model_secrets is no JSON object of VARIABLE: SECRET/KEY ({what});"
            ' give {"OPENAI_API_KEY": "model-keys/openai"}.'
        ) from None
    places = ((variable, place.partition("/")) for variable, place in sorted(given.items()))
    return tuple((variable, secret, key) for variable, (secret, _, key) in places)


def _default_image() -> str:
    from airflow_sop_provider import __version__

    return f"airflow-sop-runner:{__version__}"
