"""All objects, and every change of them in its order: what a real cluster has etcd for.

Objects that come out are copies; `update` is how one is changed.
"""

from __future__ import annotations

import asyncio
import copy
import datetime
import uuid
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any

from tests.kubernetes.api.api_errors import already_exists, not_found
from tests.kubernetes.api.resources import BY_PLURAL, Resource

Object = dict[str, Any]
Key = tuple[str, str, str]  # plural, namespace, name


def now() -> str:
    return datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


@dataclass(frozen=True, slots=True)
class Change:
    version: int
    plural: str
    before: Object | None
    after: Object | None


class Store:
    def __init__(self) -> None:
        self._objects: dict[Key, Object] = {}
        self._changes: list[Change] = []
        self._news = asyncio.Event()
        self.version = 1

    def list(self, plural: str, namespace: str | None = None) -> list[Object]:
        """In the order in which they were made; all namespaces without one."""
        mine = [table for key, table in self._objects.items() if key[0] == plural and namespace in (None, "", key[1])]
        return copy.deepcopy(mine)

    def find(self, plural: str, namespace: str, name: str) -> Object | None:
        return copy.deepcopy(self._objects.get((plural, namespace, name)))

    def get(self, resource: Resource, namespace: str, name: str) -> Object:
        """Raises ApiError."""
        found = self.find(resource.plural, namespace, name)
        if found is None:
            raise not_found(resource, name)
        return found

    def create(self, resource: Resource, namespace: str, table: Object) -> Object:
        """Raises ApiError when the name is taken."""
        made = copy.deepcopy(table)
        metadata = made["metadata"]
        if "name" not in metadata:
            metadata["name"] = f"{metadata.pop('generateName')}{uuid.uuid4().hex[:5]}"
        key = (resource.plural, namespace, metadata["name"])
        if key in self._objects:
            raise already_exists(resource, metadata["name"])
        metadata |= {"uid": str(uuid.uuid4()), "creationTimestamp": now(), "generation": 1}
        if resource.namespaced:
            metadata["namespace"] = namespace
        made = {"apiVersion": resource.group_version, "kind": resource.kind, **made}
        return self._commit(key, made)

    def replace(self, plural: str, table: Object) -> Object:
        """The same object, as it is to be now. What has not changed is no change."""
        metadata = table["metadata"]
        key = (plural, metadata.get("namespace", ""), metadata["name"])
        before = self._objects[key]
        if before == table:
            return copy.deepcopy(before)
        if before.get("spec") != table.get("spec"):
            metadata["generation"] = before["metadata"].get("generation", 1) + 1
        return self._commit(key, copy.deepcopy(table))

    def update(self, plural: str, namespace: str, name: str, change: Callable[[Object], object]) -> Object | None:
        """`change` alters the object that it gets. None when it is gone."""
        found = self.find(plural, namespace, name)
        if found is None:
            return None
        change(found)
        return self.replace(plural, found)

    def remove(self, plural: str, namespace: str, name: str) -> None:
        if (plural, namespace, name) in self._objects:
            self._commit((plural, namespace, name), None)

    def _commit(self, key: Key, table: Object | None) -> Object:
        before = self._objects.pop(key) if table is None else self._objects.get(key)
        self.version += 1
        shown = table if table is not None else copy.deepcopy(before)
        assert shown is not None
        shown["metadata"]["resourceVersion"] = str(self.version)
        if table is not None:
            self._objects[key] = table
        self._changes.append(Change(self.version, key[0], before if table is not None else shown, table))
        self.wake()
        return copy.deepcopy(shown)

    def wake(self) -> None:
        """Whoever waits for a change looks again."""
        news, self._news = self._news, asyncio.Event()
        news.set()

    @property
    def news(self) -> asyncio.Event:
        """Is set at the next change; each change has one of its own."""
        return self._news

    async def changes(self, since: int) -> AsyncIterator[Change]:
        """All after that version, and then those that come."""
        position = sum(change.version <= since for change in self._changes)
        while True:
            news = self._news
            while position < len(self._changes):
                yield self._changes[position]
                position += 1
            await news.wait()


def owner_of(table: Object) -> Object:
    """The reference to it, for those that it makes."""
    resource = next(one for one in BY_PLURAL.values() if one.kind == table["kind"])
    return {
        "apiVersion": resource.group_version,
        "kind": resource.kind,
        "name": table["metadata"]["name"],
        "uid": table["metadata"]["uid"],
        "controller": True,
        "blockOwnerDeletion": True,
    }


def is_owned_by(table: Object, owner: Object) -> bool:
    return any(one["uid"] == owner["metadata"]["uid"] for one in table["metadata"].get("ownerReferences", ()))
