"""docs/console.svg: the console in a run that really trains, on the demo hosts of cluster.toml.

    .venv/bin/python docs/picture.py        # a minute; leaves nothing behind but the picture

It waits for a decision that has proved itself, paints once more, writes the picture and stops the run. It wants a
machine with nothing else to do: the figures are what they are.
"""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from motley.console.commands.run import run_plan
from motley.console.state.snapshot import Snapshot
from motley.console.tui.app import MotleyApp

ROOT = Path(__file__).resolve().parents[1]
PICTURE = ROOT / "docs" / "console.svg"
SIZE = (120, 34)
BOUND_S = 120.0  # for the run to get there, and as long again for it to end
LOOK_S = 0.1
STEPS = 60  # at least, so that the charts have something to show
GAIN = 1.3  # at least: where other programs take the cores that the demo's fast hosts need, all are alike
FONTS = 'ui-monospace, "DejaVu Sans Mono", Menlo, Consolas, monospace'


def worth_showing(snapshot: Snapshot) -> bool:
    """Every rank is at work in a whole step, and what came of a decision is known."""
    batches = [rank.batch for rank in snapshot.ranks]
    return (
        snapshot.phase == "running"
        and snapshot.step > STEPS
        and (snapshot.gain or 0.0) >= GAIN
        and None not in batches
        and sum(batch or 0 for batch in batches) == snapshot.global_batch
        and any(decision.realised_ms is not None for decision in snapshot.decisions)
    )


def alone(svg: str) -> str:
    """The picture without what it would fetch: its fonts are those of whoever looks at it."""
    without = re.sub(r"@font-face\s*\{[^}]*\}\s*", "", svg).replace(" https://www.textualize.io", "")
    return re.sub(r"font-family: [^;]+;", f"font-family: {FONTS};", without)


async def until(there: Callable[[], bool], what: str) -> None:
    """Raises TimeoutError that names what did not come."""
    for _ in range(int(BOUND_S / LOOK_S)):
        if there():
            return
        await asyncio.sleep(LOOK_S)
    raise TimeoutError(f"{what} did not come within {BOUND_S:.0f} s")


async def taken(config: Path) -> str:
    """The screen of a run of `config`, as SVG; the run has ended on every host."""
    app = MotleyApp(run_plan(config, name="demo"))
    async with app.run_test(size=SIZE) as pilot:
        try:
            await until(lambda: has_ended(app) or worth_showing(app.life.snapshot()), "a decision with its outcome")
            app.paint()
            await pilot.pause()
            svg = app.export_screenshot(title="motley")
        finally:
            over = has_ended(app)
            await app.life.stop("the picture is taken")
            await until(lambda: has_ended(app), "the end of the run")
    if over:
        raise SystemExit("the run ended before there was anything to show: is this machine busy?")
    return svg


def has_ended(app: MotleyApp) -> bool:
    return app.life.snapshot().phase == "ended"


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        os.environ["HOME"] = folder  # demo hosts have theirs below it
        config = Path(shutil.copy(ROOT / "cluster.toml", folder))
        svg = asyncio.run(taken(config))
    PICTURE.write_text(alone(svg), "utf-8")
    print(f"{PICTURE.relative_to(ROOT)}: {PICTURE.stat().st_size} bytes", file=sys.stderr)


if __name__ == "__main__":
    main()
