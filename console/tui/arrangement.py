"""Which panels have the room of the main screen: one of three where there is not enough for all, or one alone.

>>> turn_to(screen, "log")
>>> zoom(screen)
>>> unzoom(screen)
True
"""

from __future__ import annotations

from textual.screen import Screen

IN_TURN = ("log", "decisions", "model-answers")


def turn_to(screen: Screen[object], name: str) -> None:
    """Show the decisions, the log or the answers, where there is room for one of them, and focus it."""
    unzoom(screen)
    for one in IN_TURN:
        screen.set_class(name == one, f"-shows-{one}")
    screen.query_one(f"#{name}").focus()


def zoom(screen: Screen[object]) -> None:
    """Give all the room to the panel that has the focus; or back to all of them."""
    if unzoom(screen):
        return
    panel = screen.focused or screen.query_one("#log")
    area = panel.parent
    screen.add_class("-zoom")
    for widget in (panel, area):
        if widget is not None and widget is not screen:
            widget.add_class("-zoomed")


def unzoom(screen: Screen[object]) -> bool:
    """Returns whether one panel had all the room."""
    screen.query(".-zoomed").remove_class("-zoomed")
    was = screen.has_class("-zoom")
    screen.remove_class("-zoom")
    return was
