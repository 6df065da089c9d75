"""What the model says to the task's prompts after each evaluation: lines for the panel, and for plain mode. Pure.

for line in answer_lines(snapshot.answers, width=80): print(text(line))
"""

from __future__ import annotations

from collections.abc import Sequence

from motley.console.state.snapshot import Answers
from motley.console.view import figures
from motley.console.view.styled_line import Line, Role, clip, wrap

NOTHING = "(nothing)"
QUIET = "No answers yet: they come with an evaluation, where the task has its model answer."


def answer_lines(told: Sequence[Answers], *, width: int) -> list[Line]:
    """The newest evaluation first: when it was and how good the model was, then each prompt and what it said."""
    if not told:
        return [((part, "muted"),) for part in wrap(QUIET, width)]
    lines: list[Line] = []
    for one in told:
        if lines:
            lines.append(())
        when = f"epoch {one.epoch}, step {one.step:,}" if one.epoch else "before the first step"
        lines.append(clip(((when, "strong"), (_goodness(one), "muted")), width))
        for prompt, answer in one.pairs:
            lines += _said(prompt, "? ", "accent", width)
            lines += _said(answer, "> ", "text", width)
    return lines


def plain_lines(told: Answers) -> list[str]:
    """A line for each that the prompts and answers have; marks say where one begins, as both may have several."""
    lines = []
    for prompt, answer in told.pairs:
        lines += [f"  ? {part}" if n == 0 else f"    {part}" for n, part in enumerate(prompt.split("\n"))]
        said = (answer.rstrip() or NOTHING).split("\n")
        lines += [f"  > {part}" if n == 0 else f"    {part}" for n, part in enumerate(said)]
    return lines


def _goodness(one: Answers) -> str:
    if one.held_out is None:
        return ""
    told = [("held-out", figures.loss(one.held_out.loss))]
    told += [(name, figures.quantity(value)) for name, value in one.held_out.follows]
    return "   " + "  ".join(f"{name} {value}" for name, value in told)


def _said(said: str, mark: str, role: Role, width: int) -> list[Line]:
    """Its own lines, wrapped, each as far in as it was: answers may be code."""
    if not said.strip():
        return [((mark, role), (NOTHING, "muted"))]
    lines: list[Line] = []
    for row in said.strip("\n").rstrip().split("\n"):
        indent = min(len(row) - len(row.lstrip()), max(0, width // 3))
        for part in wrap(row, max(1, width - len(mark) - indent)):
            first = mark if not lines else " " * len(mark)
            lines.append(((first, role), (" " * indent + part, role)))
    return lines
