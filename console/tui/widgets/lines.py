"""A widget that shows `styled_line.Line`s and repaints only those that changed: the base of every panel.

    panel.show(run_lines(snapshot, width=panel.size.width, now=now))

It uses Textual's Line API; text is never read as markup. Selected text can be copied.
"""

from __future__ import annotations

from collections.abc import Sequence

from rich.segment import Segment
from rich.style import Style
from textual.geometry import Size
from textual.scroll_view import ScrollView
from textual.selection import Selection
from textual.strip import Strip

from motley.console.view.styled_line import ROLES, Line, text, width_of

ROLE_CLASSES = {f"lines--{role}" for role in ROLES}


class Lines(ScrollView, can_focus=False):
    """A list of lines, scrolled when there are more than fit.

    The screen it is on has `COMPONENT_CLASSES = ROLE_CLASSES`: whenever a class changes, Textual works out those of
    every widget anew, and as they are the same for all of them, once a screen is enough.
    """

    DEFAULT_CSS = """
    Lines {
        scrollbar-size-horizontal: 0;
        scrollbar-size-vertical: 1;
        overflow-x: hidden;
    }
    """

    def __init__(self, *, id: str | None = None, classes: str | None = None) -> None:  # noqa: A002 - Textual's name
        super().__init__(id=id, classes=classes)
        self._lines: list[Line] = []
        self._styles: dict[str, Style] = {}

    @property
    def lines(self) -> Sequence[Line]:
        return self._lines

    @property
    def width(self) -> int:
        """Cells of a line: without the scrollbar, where there is one."""
        return int(self.scrollable_content_region.width)

    def show(self, lines: Sequence[Line]) -> None:
        """Take the new lines; repaint the ones that differ."""
        before, self._lines = self._lines, list(lines)
        if len(before) != len(self._lines):
            self.virtual_size = Size(self.width, len(self._lines))
            self.refresh(layout=True)
            return
        for y, (old, new) in enumerate(zip(before, self._lines, strict=True)):
            if old != new:
                self.refresh_lines(y)

    def notify_style_update(self) -> None:
        self._styles.clear()
        super().notify_style_update()

    def style_of(self, role: str) -> Style:
        style = self._styles.get(role)
        if style is None:
            style = self._styles[role] = self.screen.get_component_rich_style(f"lines--{role}")
        return style

    def line_at(self, y: int) -> Line:
        return self._lines[y] if y < len(self._lines) else ()

    def render_line(self, y: int) -> Strip:
        x, top = int(self.scroll_offset.x), int(self.scroll_offset.y)
        line = self.line_at(top + y)
        width = self.width
        segments = [Segment(part, self.style_of(role)) for part, role in line]
        strip = Strip(segments, width_of(line))
        selection = self.text_selection
        span = selection.get_span(top + y) if selection is not None else None
        if span is not None:
            start, end = span
            end = strip.cell_length if end == -1 else end
            marked = self.screen.get_component_rich_style("screen--selection")
            before, chosen, after = strip.divide([start, max(start, end), max(strip.cell_length, end)])[:3]
            strip = Strip.join([before, chosen.apply_style(marked), after])
        return strip.crop_extend(x, x + width, self.style_of("text")).apply_offsets(x, top + y)

    def get_selection(self, selection: Selection) -> tuple[str, str] | None:
        return selection.extract("\n".join(text(line).rstrip() for line in self._lines)), "\n"
