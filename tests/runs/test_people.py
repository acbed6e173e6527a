"""Whom the names in an approval's ``by`` mean, with each auth manager's own users."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from airflow.providers.fab.auth_manager.models import Role, User
from sqlalchemy import create_engine
from sqlalchemy.orm import Session

from airflow_sop_provider.engine.approvals import Person
from airflow_sop_provider.runs.people import approvers

FAB = "airflow.providers.fab.auth_manager.fab_auth_manager.FabAuthManager"
GROUPS = {"treasury": ["anna", "tom"]}


@pytest.fixture
def session(tmp_path: Path) -> Iterator[Session]:
    engine = create_engine(f"sqlite:///{tmp_path / 'users.db'}")
    with Session(engine) as opened:
        yield opened
    engine.dispose()


@pytest.fixture
def fab(session: Session, monkeypatch: pytest.MonkeyPatch) -> dict[str, Person]:
    """FAB's own tables with three users, of whom one has left."""
    monkeypatch.setenv("AIRFLOW__CORE__AUTH_MANAGER", FAB)
    User.metadata.create_all(
        session.get_bind(), tables=[table for name, table in User.metadata.tables.items() if name.startswith("ab_")]
    )
    lead = Role(name="treasury-lead")
    for name, active, roles in (("anna", True, [lead]), ("tom", True, []), ("gone", False, [lead])):
        email = f"{name}@example.com"
        session.add(User(username=name, first_name="x", last_name="y", email=email, active=active, roles=roles))
    session.commit()
    return {user.username: Person(id=str(user.id), name=user.username) for user in session.query(User)}


def test_fabs_users_are_meant_by_name_role_and_group(session: Session, fab: dict[str, Person]) -> None:
    by_role = approvers(session, ["treasury-lead"], {})
    assert (by_role.people, by_role.complete) == ((fab["anna"],), True), "who is not active is nobody"
    assert approvers(session, ["treasury"], GROUPS).people == (fab["anna"], fab["tom"])
    assert approvers(session, ["tom", "treasury-lead"], {}).people == (fab["anna"], fab["tom"])
    assert approvers(session, ["nobody"], {}).people == ()


def test_a_user_of_fab_is_known_by_number_not_by_a_name_they_could_take(
    session: Session, fab: dict[str, Person]
) -> None:
    found = approvers(session, ["anna"], {})
    assert found.include(fab["anna"])
    assert not found.include(Person(id="99", name="anna"))
    assert not found.include(fab["tom"])


def test_of_an_identity_provider_names_and_groups_are_known(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW__CORE__AUTH_MANAGER", "some.KeycloakAuthManager")
    found = approvers(session, ["treasury", "eve"], GROUPS)
    assert not found.complete
    assert [person.name for person in found.people] == ["anna", "eve", "tom"]
    assert found.include(Person(id="0a-9f", name="eve"))
    assert not found.include(Person(id="0a-9f", name="treasury"))


def test_the_simple_manager_has_users_and_roles_in_its_configuration(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS", "anna:user,tom:op,root:admin")
    assert [person.name for person in approvers(session, ["op", "treasury"], GROUPS).people] == ["anna", "tom"]


def test_a_group_hides_a_role_of_its_name(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS", "anna:user,tom:op")
    assert [person.name for person in approvers(session, ["op"], {"op": ["anna"]}).people] == ["anna"]
