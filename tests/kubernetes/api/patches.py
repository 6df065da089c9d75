"""How a patch changes an object: a merge patch, a strategic one, and server-side apply. Pure.

Server-side apply here merges as a real one does, but keeps no account of who owns which field: what is left out of a
later manifest stays.
"""

from __future__ import annotations

import copy
from typing import Any

Object = dict[str, Any]
KEYS = ("name", "containerPort", "mountPath", "uid", "key", "topologyKey", "ip")  # by which items of lists are known
MERGED = {"containers", "initContainers", "env", "volumes", "ports", "volumeMounts", "ownerReferences"}
MERGED |= {"imagePullSecrets", "tolerations", "replicatedJobs", "conditions"}


def merge(target: Any, patch: Any) -> Any:
    """RFC 7386."""
    if not isinstance(patch, dict):
        return copy.deepcopy(patch)
    made = dict(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if value is None:
            made.pop(key, None)
        else:
            made[key] = merge(made.get(key), value)
    return made


def strategic(target: Any, patch: Any, name: str = "") -> Any:
    """As `merge`, but lists whose items have a name are merged item by item."""
    if isinstance(patch, list) and name in MERGED and all(isinstance(item, dict) for item in patch):
        return _items(target or [], patch)
    if not isinstance(patch, dict):
        return copy.deepcopy(patch)
    if patch.get("$patch") == "replace":
        return {key: copy.deepcopy(value) for key, value in patch.items() if key != "$patch"}
    made = dict(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if key.startswith("$"):
            continue
        if value is None:
            made.pop(key, None)
        else:
            made[key] = strategic(made.get(key), value, key)
    return made


def _items(target: list[Object], patch: list[Object]) -> list[Object]:
    made = list(target)
    for item in patch:
        key = next((key for key in KEYS if key in item), "")
        place = next((n for n, old in enumerate(made) if key and old.get(key) == item[key]), None)
        if item.get("$patch") == "delete":
            made = [old for number, old in enumerate(made) if number != place]
        elif place is None:
            made.append(strategic({}, item))
        else:
            made[place] = strategic(made[place], item)
    return made
