"""Nothing secret goes to a tracker, or into a word about one: values of variables such as WANDB_API_KEY, and passwords
in addresses.

    >>> conceal("401 for key 1234567890abcdef at http://me:pw@box/", ["1234567890abcdef"])
    '401 for key *** at http://***@box/'
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from typing import Any

LEAST = 6  # characters of a value: a shorter one stands in other words, too
_NAME = re.compile(
    r"(?:^|[._-])(?:token|secret|password|passwd|passphrase|credentials?|api_?key|access_?key)$", re.IGNORECASE
)
_IN_ADDRESS = re.compile(r"(?<=://)[^/\s@]+@")


def secrets_of(environment: Mapping[str, str] = os.environ) -> list[str]:
    """The longest first, so that of two that begin alike nothing stays."""
    found = {value for name, value in environment.items() if is_secret(name) and len(value) >= LEAST}
    return sorted(found, key=len, reverse=True)


def is_secret(name: str) -> bool:
    """Whether a variable or key of this name holds one: `max_tokens` does not."""
    return _NAME.search(name) is not None


def conceal(text: str, secrets: Iterable[str]) -> str:
    for secret in secrets:
        text = text.replace(secret, "***")
    return _IN_ADDRESS.sub("***@", text)


def concealed(settings: Mapping[str, Any], secrets: Iterable[str]) -> dict[str, str | int | float | bool]:
    """Settings as a tracker takes them: plain values, lists as text; without those whose name says that they are
    secret."""
    known = list(secrets)
    found: dict[str, str | int | float | bool] = {}
    for name, value in settings.items():
        if is_secret(name):
            continue
        plain = value if isinstance(value, (bool, int, float)) else str(value)
        found[name] = conceal(plain, known) if isinstance(plain, str) else plain
    return found
