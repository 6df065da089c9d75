"""What the API server refuses, as a real one words it: `ApiError`, which becomes a Status."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tests.kubernetes.api.resources import Resource

Object = dict[str, Any]


class ApiError(Exception):
    def __init__(self, code: int, reason: str, message: str, details: Object | None = None) -> None:
        super().__init__(message)
        self.code, self.reason, self.message, self.details = code, reason, message, details

    def status(self) -> Object:
        return {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": self.message,
            "reason": self.reason,
            **({"details": self.details} if self.details else {}),
            "code": self.code,
        }


def not_found(resource: Resource, name: str) -> ApiError:
    return ApiError(404, "NotFound", f'{resource.key} "{name}" not found', _of(resource, name))


def no_such_path() -> ApiError:
    return ApiError(404, "NotFound", "the server could not find the requested resource", {})


def already_exists(resource: Resource, name: str) -> ApiError:
    return ApiError(409, "AlreadyExists", f'{resource.key} "{name}" already exists', _of(resource, name))


def conflict(resource: Resource, name: str) -> ApiError:
    said = f'Operation cannot be fulfilled on {resource.key} "{name}": the object has been modified; please apply your '
    return ApiError(409, "Conflict", f"{said}changes to the latest version and try again", _of(resource, name))


def bad_request(message: str) -> ApiError:
    return ApiError(400, "BadRequest", message)


def forbidden(resource: Resource, name: str, why: str) -> ApiError:
    named = f'{resource.key} "{name}"' if name else resource.key
    return ApiError(403, "Forbidden", f"{named} is forbidden: {why}", _of(resource, name))


def denied(webhook: str, message: str) -> ApiError:
    return ApiError(403, "Forbidden", f'admission webhook "{webhook}" denied the request: {message}')


def invalid(resource: Resource, name: str, causes: Sequence[tuple[str, str]]) -> ApiError:
    """`causes`: the field of each, and what is wrong."""
    said = [f"{field}: {text}" for field, text in causes]
    whole = said[0] if len(said) == 1 else f"[{', '.join(said)}]"
    kind = f"{resource.kind}.{resource.group}" if resource.group else resource.kind
    details = {**_of(resource, name), "kind": resource.kind}
    details["causes"] = [{"reason": "FieldValueInvalid", "message": text, "field": field} for field, text in causes]
    return ApiError(422, "Invalid", f'{kind} "{name}" is invalid: {whole}', details)


def _of(resource: Resource, name: str) -> Object:
    return {"name": name, "group": resource.group, "kind": resource.plural}
