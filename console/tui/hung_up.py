"""What a terminal, or the page in a browser that is one, tells the app when nobody is there any more."""

from __future__ import annotations

from textual.message import Message


class HungUp(Message):
    """The terminal is gone."""
