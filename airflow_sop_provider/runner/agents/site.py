"""The site's models: which endpoint a model's name stands for, what its tokens cost, where its key is.

Read from ``models.yaml``, as servers are from ``fleet.yaml``, and with the same rule for secrets: the file names a
variable (``${NAME}``), the value stays in the runner's environment. SOPs name models; a site may point a name elsewhere
(``use``) without touching an SOP.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from airflow_sop_provider.fleet.registry import MissingVariableError, resolve_variables
from airflow_sop_provider.runner.failures import bad_configuration

__all__ = ["MODELS_FILE", "MODELS_FILE_VARIABLE", "ModelEntry", "ModelSite", "Prices", "load_site"]

MODELS_FILE = "models.yaml"
"""Where the file is if no variable names it: beside the attempt's assignment."""

MODELS_FILE_VARIABLE = "SOP_MODELS"
"""Variable with the path of ``models.yaml``."""


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Prices(_Model):
    """Prices of a million tokens, in the site's currency."""

    input: float = Field(ge=0)
    output: float = Field(ge=0)

    def of(self, input_tokens: int, output_tokens: int) -> float:
        """Return the cost of so many tokens."""
        return (input_tokens * self.input + output_tokens * self.output) / 1_000_000


class ModelEntry(_Model):
    """What the site says of the models whose name fits a pattern.

    :param use: name of the model to ask instead, None: the name as the SOP has it.
    :param base_url: endpoint of an OpenAI-compatible server, for ``openai:`` models.
    :param api_key: the key, as ``${NAME}``; None: what the provider's own library finds in the environment.
    :param timeout: seconds for one answer.
    :param structured_turns: for ``openai:`` models that call functions badly or not at all: hold every turn to a JSON
        schema of the calls and the answer instead.
    """

    use: str | None = None
    base_url: str | None = Field(default=None, pattern=r"^https?://")
    api_key: str | None = Field(default=None, pattern=r"^\$\{[A-Za-z_][A-Za-z0-9_]*\}$")
    prices: Prices | None = None
    timeout: float = Field(default=120.0, gt=0)
    structured_turns: bool = False

    def key(self) -> str | None:
        """Return the key's value.

        :raises StepFailureError: exit 78 (``model-key-missing``) if the variable is not set.
        """
        if self.api_key is None:
            return None
        try:
            return resolve_variables({"api_key": self.api_key})["api_key"]
        except MissingVariableError as error:
            raise bad_configuration(
                "model-key-missing", f"models.yaml reads `{self.api_key}`, which is not set. Set it for the runner."
            ) from error


class ModelSite(_Model):
    """Everything the site says about models.

    :param default: model of SOPs that name none.
    :param models: pattern of names (``*`` and ``?``) -> entry; the first that fits counts.
    """

    default: str | None = None
    models: dict[str, ModelEntry] = Field(default_factory=dict)

    def entry(self, name: str) -> ModelEntry:
        """Return what is said of a model; an empty entry if nothing is."""
        return next((entry for pattern, entry in self.models.items() if fnmatchcase(name, pattern)), ModelEntry())


def load_site(environment: Mapping[str, str] | None = None) -> ModelSite:
    """Return the site's models; without a file nothing is said of any.

    :raises StepFailureError: exit 78 (``models-file``) if the file cannot be used.
    """
    source = os.environ if environment is None else environment
    path = source.get(MODELS_FILE_VARIABLE)
    if not path and source.get("SOP_STEP"):
        path = str(Path(source["SOP_STEP"]).with_name(MODELS_FILE))
    if not path:
        return ModelSite()
    try:
        return _anchored(ModelSite.model_validate(_read(Path(path))), Path(path).parent)
    except FileNotFoundError:
        return ModelSite()
    except (OSError, UnicodeDecodeError) as error:
        raise bad_configuration("models-file", f"{path} cannot be read: {error}") from error
    except ValidationError as error:
        problems = "; ".join(f"`{'.'.join(map(str, e['loc']))}`: {e['msg']}" for e in error.errors(include_url=False))
        raise bad_configuration("models-file", f"{path}: {problems}") from error


def _anchored(site: ModelSite, folder: Path) -> ModelSite:
    """Return the site with scripts of models (``scripted:./FILE``) looked for beside its file."""
    start = "scripted:./"
    models = {
        name: entry.model_copy(update={"use": f"scripted:{folder.absolute()}/{entry.use.removeprefix(start)}"})
        if entry.use is not None and entry.use.startswith(start)
        else entry
        for name, entry in site.models.items()
    }
    return site.model_copy(update={"models": models})


def _read(path: Path) -> Any:
    import yaml

    try:
        return yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except yaml.YAMLError as error:
        raise bad_configuration("models-file", f"{path} is not YAML: {error}") from error
