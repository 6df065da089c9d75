"""How long `motley report`, `compare` and `replay` take with an experiment of 300 MB: `make bench-after-run`.

    python tests/bench/after_run/bench_after_run.py [MB]

Each is a process of its own on a terminal of 120x40. Times are from its first line; those with Textual's imports left
out are told beside those with them. `first` is the first thing on the terminal, of a replay that with the run's
name in it; `whole` the end of the process, of a replay the step that was asked for, or the picture of its beginning.
Each is the best of three, first without the digest that a console keeps when a run ends, then with it. A fixed piece of
Python work is told beside it: figures of another machine differ by what that differs by.
"""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import struct
import sys
import tempfile
import termios
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[3]))

from motley.console.report import digest
from tests.bench.after_run.large_experiment import write

LIMIT_S = 300.0
BEST_OF = 3
CHILD = """
import os, sys, time
began = time.monotonic()
textual = 0.0
if sys.argv[1] == "replay":
    import motley.console.commands.after_run.replay
    before = time.monotonic()
    import textual.app, textual.widgets, textual.screen, textual.containers, textual.drivers.linux_driver
    textual = time.monotonic() - before
os.write({stamps}, b"%r %r" % (began, textual))
from motley.console.cli import app
app(prog_name="motley")
"""


def fixed_work() -> float:
    """Seconds of a piece of Python that is always the same."""
    table: dict[int, int] = {}
    began = time.perf_counter()
    for number in range(2_000_000):
        table[number & 4095] = table.get(number & 4095, 0) + number
    return time.perf_counter() - began


def measured(words: list[str], first: str, whole: str | None) -> tuple[float, float, float, int, float]:
    """Seconds to the first sign and to the whole, of these Textual's imports; MiB of memory at most; seconds of CPU.
    `whole`: what the screen then has; None: the process ends."""
    stamps, stamped = os.pipe()
    child, terminal = pty.fork()
    if child == 0:
        os.set_inheritable(stamped, True)
        os.environ["TERM"] = "xterm-256color"
        os.execv(sys.executable, [sys.executable, "-c", CHILD.format(stamps=stamped), *words])
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 120, 0, 0))
    os.close(stamped)
    text, seen, done, limit = "", 0.0, 0.0, time.monotonic() + LIMIT_S
    while not done and time.monotonic() < limit:
        if not select.select([terminal], [], [], 1.0)[0]:
            continue
        try:
            content = os.read(terminal, 1 << 16)
        except OSError:
            content = b""
        text += re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", content.decode(errors="replace"))
        if not seen and first in text:
            seen = time.monotonic()
        if not content or (whole is not None and whole in text):
            done = time.monotonic()
    if whole is not None:
        os.write(terminal, b"q")
        while select.select([terminal], [], [], 10.0)[0]:
            try:
                if not os.read(terminal, 1 << 16):
                    break
            except OSError:
                break
    _, code, used = os.wait4(child, 0)
    began, imports = map(float, os.read(stamps, 100).split())
    os.close(stamps)
    os.close(terminal)
    if code or not seen or not done:
        raise SystemExit(f"{words} ended with {code}:\n{text[-2000:]}")
    return seen - began, done - began, imports, used.ru_maxrss // 1024, used.ru_utime + used.ru_stime


def main() -> None:
    megabytes = float(sys.argv[1]) if len(sys.argv) > 1 else 300.0
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "large"
        steps = write(folder, megabytes)
        asked = steps * 9 // 10
        small = Path(temporary) / "small"
        write(small, 1.0)
        verbs = {
            "report": (["report", str(folder)], "e", None),
            "compare": (["compare", str(folder), str(small)], "e", None),
            "replay": (["replay", str(folder)], "REPLAY", "REPLAY"),
            "replay --at": (["replay", str(folder), "--at", str(asked)], "REPLAY", f"step {asked:,}/"),
        }
        print(f"{megabytes:.0f} MB, {steps:,} steps of 4 ranks; a fixed piece of work takes {fixed_work():.2f} s")
        print("| verb | digest | first s | without textual | whole s | without textual | MiB | CPU s |")
        print("|---|---|---|---|---|---|---|---|")
        for kept in (False, True):
            for verb, (words, first, whole) in verbs.items():
                runs = []
                for _ in range(BEST_OF):
                    if not kept:
                        (folder / digest.NAME).unlink(missing_ok=True)
                    runs.append(measured(words, first, whole))
                begun, ended = min(run[0] for run in runs), min(run[1] for run in runs)
                textual, memory = min(run[2] for run in runs), max(run[3] for run in runs)
                word = "kept" if kept else "none"
                print(
                    f"| {verb} | {word} | {begun:.2f} | {begun - textual:.2f} | {ended:.2f} | {ended - textual:.2f} "
                    f"| {memory} | {min(run[4] for run in runs):.2f} |", flush=True,
                )  # fmt: skip


if __name__ == "__main__":
    main()
