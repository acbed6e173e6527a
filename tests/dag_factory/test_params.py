"""Inputs as params: the trigger form, and the conf that Airflow lets in."""

from __future__ import annotations

import pytest
from airflow.exceptions import ParamValidationError

from airflow_sop_provider.engine.assignments import InputsError, resolve_inputs
from tests.dag_factory.documents import HEAD, VENDOR, dag_of, loaded, serialized


@pytest.fixture(scope="module")
def params():
    return serialized(dag_of(VENDOR)).params


def check(params, conf):
    """Do what Airflow does with the conf of a run that is being created."""
    return params.deep_merge(conf).validate()


def test_a_conf_that_fits_is_let_in_with_defaults(params):
    assert check(params, {"vendor_id": "V-123456"}) == {"vendor_id": "V-123456", "limit": 3, "priority": "high"}


def test_reserved_keys_are_let_in(params):
    assert check(params, {"vendor_id": "V-123456", "priority": "low", "batch": "2026-11"})["priority"] == "low"


@pytest.mark.parametrize(
    "conf",
    [
        {},
        {"vendor_id": None},
        {"vendor_id": "123456"},
        {"vendor_id": "V-123456", "limit": "three"},
        {"vendor_id": "V-123456", "priority": "urgent"},
    ],
)
def test_a_conf_that_does_not_fit_is_refused_by_airflow_and_by_us(params, conf):
    with pytest.raises(ParamValidationError):
        check(params, conf)
    if "priority" not in conf:
        with pytest.raises(InputsError):
            resolve_inputs("vendor-bank-change", loaded(VENDOR).sop.inputs, conf)


def test_the_form_gets_description_and_schema(params):
    vendor = params.get_param("vendor_id")
    assert vendor.description == "Which vendor"
    assert vendor.schema == {"type": "string", "pattern": "^V-[0-9]{6}$"}
    assert params.get_param("priority").schema["enum"] == ["critical", "high", "normal", "low"]


def test_a_default_may_be_null():
    text = HEAD + "inputs: {note: {type: ['string', 'null'], default: null}}\nsteps: [{id: a, compute: {v: '1'}}]\n"
    assert check(serialized(dag_of(text)).params, {}) == {"note": None, "priority": "normal"}


SCHEDULED = VENDOR.replace("guidance: Be careful.", 'guidance: Be careful.\nschedule: {cron: "0 1 * * *"}')


def test_a_scheduled_sop_may_have_inputs_without_default():
    """Airflow refuses such a DAG; so the input may be empty there, and the execution fails with the reason."""
    params = serialized(dag_of(SCHEDULED)).params
    assert check(params, {})["vendor_id"] is None
    assert params.get_param("vendor_id").schema["type"] == ["string", "null"]
    with pytest.raises(ParamValidationError):
        check(params, {"vendor_id": "123456"})
    with pytest.raises(InputsError, match="`vendor_id` is missing"):
        resolve_inputs("vendor-bank-change", loaded(SCHEDULED).sop.inputs, {})


def test_tasks_carry_no_copy_of_the_params():
    """A copy per task would be most of what serialising a DAG costs; steps have no templates to read it."""
    dag = dag_of(VENDOR)
    assert "limit" in dag.params
    assert [dict(task.params) for task in dag.tasks] == [{}] * len(dag.tasks)
