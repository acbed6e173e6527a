"""What was recorded against the SOP, from the audit log's own rows: both modes, and each way of departing."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_sop_provider.audit.entries import AuditFields
from airflow_sop_provider.engine.execution_context import context_of_sop
from airflow_sop_provider.sop import load_sop
from airflow_sop_provider.store.audit_append import append
from airflow_sop_provider.store.conformance import conformance_of, tell_deviation
from airflow_sop_provider.store.executions import open_execution
from airflow_sop_provider.store.tables import OutboxRow
from tests.store.facts import SOPS, run_facts

SERVER = "python-environment"


def opened(session, sop: str):
    path = SOPS / f"{sop}.yaml"
    return open_execution(session, run_facts(sop), context_of_sop(load_sop(path)), path.read_text())


def said(kind: str, step: str, **metadata: Any) -> AuditFields:
    return AuditFields(kind=kind, component="test", message=kind, step=step, metadata=metadata)


def ended(step: str, state: str = "succeeded") -> AuditFields:
    return said("attempt.end", step, state=state)


def called(step: str, tool: str, kind: str = "data.access", **fields: Any) -> AuditFields:
    return said(kind, step, server=SERVER, tool=tool, **fields)


REVIEW = [
    called("inventory", "package_groups"), ended("inventory"),
    ended("licences_items"), called("licences", "licences"), ended("licences"), ended("licences"),
    ended("classify"), said("decision", "decide", choice="approved"), ended("decide"), ended("report"),
]  # fmt: skip


def compared(session, sop: str, entries, **options: Any):
    row = opened(session, sop)
    append(session, row.name, entries)
    return conformance_of(session, row, **{"complete": True, **options})


def test_steps_that_were_done_as_the_sop_says_conform(session) -> None:
    found = compared(session, "software-licence-review", REVIEW)
    assert found.to_dict()["conforms"]
    assert "licences: as the SOP says." in found.explanation


@pytest.mark.parametrize(
    ("entries", "step", "rule"),
    [
        (REVIEW[:-1], "report", "required-steps"),
        ([ended("classify"), *REVIEW], "classify", "order"),
        ([called("inventory", "verify_record"), *REVIEW], "inventory", "allowed-tools"),
        ([*REVIEW[:7], said("decision", "decide", choice="perhaps"), *REVIEW[7:]], "decide", "decision-options"),
        ([*REVIEW, ended("another")], "another", "known-steps"),
    ],
)
def test_each_departure_is_explained_at_its_step(session, entries, step, rule) -> None:
    found = compared(session, "software-licence-review", entries)
    assert [(one.step, one.rule) for one in found.deviations] == [(step, rule)]
    assert any(line.startswith(f"{step}: ") and found.deviations[0].text in line for line in found.explanation)


def test_steps_that_were_skipped_or_never_reached_are_no_departure(session) -> None:
    assert compared(session, "software-licence-review", REVIEW[:-1], skipped=["report"]).deviations == ()
    row = opened(session, "software-licence-review")
    assert conformance_of(session, row, complete=False).deviations == ()


def test_a_rollback_step_follows_what_it_undoes(session) -> None:
    loaded = load_sop(SOPS / "evidence-publication.yaml").sop
    undo = loaded.rollback[0]
    found = compared(session, "evidence-publication", [ended(undo.id)], complete=False)
    assert [(one.step, one.rule) for one in found.deviations] == [(undo.id, "order")]


def brief(*steps: str) -> list[AuditFields]:
    tools = {"interpreter": "python_info", "licences": "licences", "files": "verify_record"}
    entries: list[AuditFields] = []
    for step in steps:
        if step in tools:
            entries.append(called("agent", tools[step]))  # the gateway's record
            entries.append(called("agent", tools[step], "tool.call", sop_step=step))
        entries.append(said("agent.result", "agent", scope="step", sop_step=step))
    return [*entries, said("agent.result", "agent", scope="sop", sop_step=""), ended("agent")]


def test_what_one_agent_did_is_compared_step_by_step(session) -> None:
    found = compared(session, "package-brief", brief("interpreter", "licences", "files", "brief"))
    assert found.to_dict()["conforms"], found.explanation


def test_the_gateway_is_believed_where_a_runner_says_nothing(session) -> None:
    entries = [called("agent", "package_groups"), *brief("interpreter", "licences", "files", "brief")]
    found = compared(session, "package-brief", entries)
    assert [(one.step, one.rule) for one in found.deviations] == [("", "allowed-tools")]
    assert found.explanation[-1] == "SOP: The agent called python-environment.package_groups."


def test_an_agents_order_is_that_of_the_document(session) -> None:
    found = compared(session, "package-brief", brief("licences", "interpreter", "files", "brief"))
    assert [(one.step, one.rule) for one in found.deviations] == [("licences", "order")]


def test_without_the_document_nothing_is_claimed(session) -> None:
    context = context_of_sop(load_sop(SOPS / "package-brief.yaml"))
    row = open_execution(session, run_facts("package-brief"), context)
    assert conformance_of(session, row, complete=True) is None


def test_a_departure_is_put_into_the_outbox_once(session) -> None:
    row = opened(session, "package-brief")
    found = conformance_of(session, row, complete=True)
    tell_deviation(session, row, found)
    tell_deviation(session, row, found)
    (told,) = session.query(OutboxRow).all()
    assert (told.kind, told.payload["step"]) == ("deviation", "interpreter")
    assert len(told.payload["explanation"]) == 4
    assert found.entry().kind == "conformance"
