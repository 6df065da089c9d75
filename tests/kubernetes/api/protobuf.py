"""What kubectl asks in Kubernetes' protobuf, as the same in JSON: a SelfSubjectAccessReview alone, of `auth can-i`."""

from __future__ import annotations

from typing import Any

MAGIC = b"k8s\x00"
ATTRIBUTES = {1: "namespace", 2: "verb", 3: "group", 4: "version", 5: "resource", 6: "subresource", 7: "name"}


def review(body: bytes) -> dict[str, Any]:
    """Raises KeyError for another message."""
    whole = fields(body[len(MAGIC) :])
    kind = fields(whole[1])
    about = fields(fields(fields(whole[2])[2])[1])
    asked = {ATTRIBUTES[number]: value.decode() for number, value in about.items() if number in ATTRIBUTES}
    table = {"apiVersion": kind[1].decode(), "kind": kind[2].decode()}
    return {**table, "spec": {"resourceAttributes": asked}}


def fields(message: bytes) -> dict[int, bytes]:
    """Those that have a length, by their numbers."""
    found: dict[int, bytes] = {}
    at = 0
    while at < len(message):
        tag, at = _number(message, at)
        size, at = _number(message, at)
        if tag & 7 == 2:
            found[tag >> 3] = message[at : at + size]
            at += size
    return found


def _number(message: bytes, at: int) -> tuple[int, int]:
    found = shift = 0
    while True:
        byte = message[at]
        found |= (byte & 127) << shift
        at, shift = at + 1, shift + 7
        if byte < 128:
            return found, at
