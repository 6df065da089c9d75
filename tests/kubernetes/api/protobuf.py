"""What kubectl sends in protobuf whatever a server likes: a review of what a user may. Read by hand."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

MAGIC = b"k8s\0"
ATTRIBUTES = {1: "namespace", 2: "verb", 3: "group", 4: "version", 5: "resource", 6: "subresource", 7: "name"}


def is_protobuf(body: bytes) -> bool:
    return body.startswith(MAGIC)


def access_review(body: bytes) -> dict[str, Any]:
    """A SelfSubjectAccessReview as a table; of another kind, nothing but its type."""
    whole = _fields(body[len(MAGIC) :])
    kind = {number: value.decode() for number, (value, *_) in _fields(whole[1][0]).items()}
    table: dict[str, Any] = {"apiVersion": kind[1], "kind": kind[2], "metadata": {}, "spec": {}}
    spec = _fields(_fields(whole[2][0])[2][0]) if kind[2] == "SelfSubjectAccessReview" else {}
    if 1 in spec:
        asked = {ATTRIBUTES[n]: value.decode() for n, (value, *_) in _fields(spec[1][0]).items() if n in ATTRIBUTES}
        table["spec"]["resourceAttributes"] = asked
    return table


def _fields(data: bytes) -> dict[int, list[bytes]]:
    """Those that are text or messages, by number."""
    found: dict[int, list[bytes]] = defaultdict(list)
    place = 0
    while place < len(data):
        key, place = _number(data, place)
        if key & 7 == 2:
            size, place = _number(data, place)
            found[key >> 3].append(data[place : place + size])
            place += size
        elif key & 7 == 0:
            _, place = _number(data, place)
        else:
            raise ValueError(f"a field of type {key & 7} is no part of a review")
    return found


def _number(data: bytes, place: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte, place = data[place], place + 1
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return value, place
