"""From a step's payload and a run's values to the assignment its runner gets.

Executor and operator start attempts in different ways and must hand the runner exactly the
same thing; so inputs, defaults and what a step may read are decided here, once, without
Airflow. A run whose conf does not fit is refused here even when Airflow let it in (a run
created by code, or before the SOP changed).
"""

from __future__ import annotations

import copy
import difflib
from collections.abc import Iterator, Mapping
from datetime import datetime
from enum import Enum
from typing import Any, cast

from airflow_sop_provider.contract.assignment import RESERVED_CONF_KEYS, Assignment
from airflow_sop_provider.contract.attempt import AttemptKey
from airflow_sop_provider.contract.payload import StepPayload
from airflow_sop_provider.engine.priorities import PRIORITY_KEY

__all__ = ["InputsError", "build_assignment", "execution_values", "item_of", "resolve_inputs"]


class InputsError(ValueError):
    """The run's conf does not fit the SOP's inputs: a permanent failure (exit code 65).

    :param problems: one sentence for each input at fault.
    """

    def __init__(self, sop: str, problems: tuple[str, ...]) -> None:
        self.sop = sop
        self.problems = problems
        listed = "\n".join(f"- {problem}" for problem in problems)
        super().__init__(f"The conf of this run does not fit the inputs of SOP {sop!r}:\n{listed}")


def build_assignment(
    key: AttemptKey,
    payload: StepPayload,
    conf: Mapping[str, Any] | None,
    xcoms: Mapping[str, Any],
    item: object = None,
    execution: Mapping[str, Any] | None = None,
    *,
    deadline: datetime | None = None,
) -> Assignment:
    """Return what the runner of one attempt is given.

    :param conf: the run's conf: inputs, flat, plus the reserved keys.
    :param xcoms: outputs by step id; may hold more than the step reads, a skipped step is absent.
    :param item: the item of a ``for_each``; see `item_of`.
    :param execution: values readable as ``execution``; ``batch`` and ``priority`` come from ``conf``,
        else the priority is the SOP's.
    :param deadline: when the attempt has to be over.
    :raises InputsError: the conf does not fit the SOP's inputs.
    """
    conf = conf or {}
    reserved = {name: conf[name] for name in sorted(RESERVED_CONF_KEYS) if name in conf}
    return Assignment(
        key=key,
        payload=payload,
        inputs=resolve_inputs(payload.sop, payload.inputs, conf),
        steps={step: xcoms[step] for step in payload.reads if step in xcoms},
        item=item,
        execution={**(execution or {}), PRIORITY_KEY: payload.priority, **reserved},
        deadline=deadline,
    )


def execution_values(key: AttemptKey, run: Mapping[str, Any]) -> dict[str, Any]:
    """Return what expressions read as ``execution``, JSON values only.

    :param run: values of the run, for example ``logical_date``, ``run_after``, ``run_type``, ``triggered_by``.
    """
    values = {name: _plain(value) for name, value in run.items() if value is not None}
    return {"id": f"{key.sop}/{key.run_id}", "sop": key.sop, "run_id": key.run_id, "attempt": key.attempt, **values}


def _plain(value: object) -> object:
    if isinstance(value, datetime):
        return value.isoformat()
    return value.value if isinstance(value, Enum) else value


def item_of(payload: StepPayload, map_index: int, xcoms: Mapping[str, Any]) -> object:
    """Return the item of a ``for_each`` at ``map_index``, None for a step without one.

    :param xcoms: outputs by task id; the list of items is that of ``payload.items_task``.
    :raises LookupError: the list of items is missing or shorter than the map says.
    """
    if payload.items_task is None or map_index < 0:
        return None
    items = xcoms.get(payload.items_task)
    if isinstance(items, list) and map_index < len(items):
        return items[map_index]
    count = len(items) if isinstance(items, list) else "no list of"
    raise LookupError(
        f"Step {payload.step_id!r} has no item {map_index}: task {payload.items_task!r} gave {count} items. "
        f"Clear {payload.items_task!r} to list them again."
    )


def resolve_inputs(sop: str, schemas: Mapping[str, Any], conf: Mapping[str, Any]) -> dict[str, Any]:
    """Return the SOP's inputs from a run's conf, defaults applied, reserved keys removed.

    :param sop: SOP id, for the message.
    :param schemas: JSON Schema of each input; ``default`` is the value of one that is not given.
    :raises InputsError: an input is missing, unknown or breaks its schema; all problems at once.
    """
    given = {name: value for name, value in conf.items() if name not in RESERVED_CONF_KEYS}
    defaults = {name: copy.deepcopy(schema["default"]) for name, schema in schemas.items() if "default" in schema}
    inputs = {name: {**defaults, **given}[name] for name in schemas if name in given or name in defaults}
    problems = (*_unknown(given, schemas), *_invalid(schemas, inputs))
    if problems:
        raise InputsError(sop, problems)
    return inputs


def _unknown(given: Mapping[str, Any], schemas: Mapping[str, Any]) -> Iterator[str]:
    for name in given:
        if name not in schemas:
            near = difflib.get_close_matches(name, [*schemas, *RESERVED_CONF_KEYS], n=1)
            known = f"did you mean `{near[0]}`?" if near else f"the inputs are: {', '.join(schemas) or 'none'}."
            yield f"`{name}` is not an input; {known}"


def _invalid(schemas: Mapping[str, Any], inputs: Mapping[str, Any]) -> Iterator[str]:
    for name, schema in schemas.items():
        if name not in inputs:
            yield f"`{name}` is missing and has no default; add it to the run's conf."
            continue
        message = _first_violation(schema, inputs[name])
        if message is not None:
            yield f"`{name}`: {message}"


def _first_violation(schema: Mapping[str, Any], value: object) -> str | None:
    """Return what is wrong with a value; judged as Airflow's ``Param`` judges it, formats included."""
    from jsonschema import FormatChecker
    from jsonschema.exceptions import best_match
    from jsonschema.validators import validator_for
    from referencing import Registry

    validator = validator_for(schema)(
        schema,
        format_checker=FormatChecker(),
        registry=Registry(),  # empty: no schema is ever fetched from a URL
    )
    error = best_match(validator.iter_errors(cast("Any", value)))
    return None if error is None else str(error.message)
