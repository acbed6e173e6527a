"""Whom the names in an approval's ``by`` mean: users, groups of ``[sop] approver_groups``, roles of the auth manager.

Answers are judged where no user is signed in (the scheduler's executor), so names are looked up in what the auth
manager keeps: the simple one's users in the configuration, FAB's in the metadata database. Of any other (an identity
provider's) only user names and our own groups are known. Who cannot be found is nobody: an answer then does not count.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import NamedTuple

from airflow.configuration import conf
from sqlalchemy import column, inspect, select, table
from sqlalchemy.orm import Session

from airflow_sop_provider.engine.approvals import Person

__all__ = ["Approvers", "approvers"]


class Approvers(NamedTuple):
    """Who may approve.

    :param people: those who are known.
    :param complete: whether the auth manager's users are all known here, so that nobody else can be meant.
    """

    people: tuple[Person, ...]
    complete: bool

    def include(self, person: Person) -> bool:
        """Whether this user is one of them."""
        if self.complete:
            return any(one.id == person.id for one in self.people)
        return any(one.name in (person.id, person.name) for one in self.people)


class _Account(NamedTuple):
    person: Person
    roles: frozenset[str]


def approvers(session: Session, by: Collection[str], groups: Mapping[str, Collection[str]]) -> Approvers:
    """Return whom ``by`` means now.

    :param groups: user names by group, the site's own.
    """
    names = {member for name in by for member in groups.get(name, (name,))}
    accounts = _accounts(session)
    if accounts is None:
        return Approvers(tuple(Person(id=name, name=name) for name in sorted(names)), complete=False)
    roles = {name for name in by if name not in groups}
    people = [one.person for one in accounts if one.person.name in names or one.roles & roles]
    return Approvers(tuple(sorted(people, key=lambda person: person.name)), complete=True)


def _accounts(session: Session) -> list[_Account] | None:
    """Return every user of the auth manager, None if it keeps them where we cannot look."""
    manager = conf.get("core", "auth_manager")
    if manager.endswith(".SimpleAuthManager"):
        return _simple_accounts(conf.getlist("core", "simple_auth_manager_users"))
    if manager.endswith(".FabAuthManager") and inspect(session.connection()).has_table("ab_user"):
        return _fab_accounts(session)
    return None


def _simple_accounts(users: Iterable[str]) -> list[_Account]:
    parts = [user.split(":") for user in users]
    return [_Account(Person(id=name, name=name), frozenset({role})) for name, role, *_ in parts]


_USER = table("ab_user", column("id"), column("username"), column("active"))
_ROLE = table("ab_role", column("id"), column("name"))
_USER_ROLE = table("ab_user_role", column("user_id"), column("role_id"))


def _fab_accounts(session: Session) -> list[_Account]:
    """Return FAB's active users; its tables are read, its package is not: a scheduler need not have it."""
    query = (
        select(_USER.c.id, _USER.c.username, _ROLE.c.name)
        .select_from(_USER.outerjoin(_USER_ROLE, _USER_ROLE.c.user_id == _USER.c.id))
        .outerjoin(_ROLE, _ROLE.c.id == _USER_ROLE.c.role_id)
        .where(_USER.c.active)
    )
    found: dict[Person, set[str]] = {}
    for number, name, role in session.execute(query):
        found.setdefault(Person(id=str(number), name=name), set()).update({role} if role else ())
    return [_Account(person, frozenset(roles)) for person, roles in found.items()]
