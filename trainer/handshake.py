"""How a rank and its coordinator prove to each other that they hold the run's token. See `trainer.coordinator`."""

from __future__ import annotations

import hmac


def proof(token: str, *words: object) -> str:
    """HMAC-SHA256 of the words under the run's token (hex digits), in hex."""
    return hmac.new(bytes.fromhex(token), " ".join(map(str, words)).encode(), "sha256").hexdigest()
