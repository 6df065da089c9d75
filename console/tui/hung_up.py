"""What both drivers tell the app when nobody is at the other end any more: of a terminal, or of a page in a browser."""

from __future__ import annotations

from textual.message import Message


class HungUp(Message):
    """The terminal is gone."""
