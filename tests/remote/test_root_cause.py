"""Ranks that fail on two demo hosts, each in its own way: the first is the one that every console tells of."""

from __future__ import annotations

import re
import sys
import sysconfig
import venv
from pathlib import Path

from motley.remote.feed import Link
from motley.remote.session.runs import logs
from motley.trainer.contract.wire import Event
from tests.remote.stage import FOREVER, Seen, Stage
from tests.remote.test_script_run import launched

AHEAD_S = 600.0
# The minder of rank 0 hears of its end before that of rank 1 does, whose script failed first and takes its time.
SCRIPT = """
import os, pathlib, sys, time, traceback
place = pathlib.Path(os.environ["HOME"]).parent
def there(name):
    while not (place / name).exists():
        time.sleep(0.005)
if os.environ["RANK"] == "1":
    try:
        import einops_is_not_here
    except ImportError:
        traceback.print_exc()
    (place / "first").touch()
    there("second")
    pid = int((place / "second").read_text())
    while pathlib.Path(f"/proc/{pid}").exists():
        time.sleep(0.005)
    sys.exit(1)
there("first")
(place / ".second").write_text(str(os.getpid()))
(place / ".second").rename(place / "second")
raise RuntimeError("[pair.cc:598] Connection closed by peer [127.0.0.1]:28048")
"""


def python_ahead(folder: Path) -> Path:
    """A Python whose clock is ahead, with the packages of this one."""
    venv.create(folder, with_pip=False, symlinks=True)
    packages = folder / "lib" / f"python{sys.version_info[0]}.{sys.version_info[1]}" / "site-packages"
    (packages / "ahead.py").write_text(
        f"import time\n_true = time.time\ntime.time = lambda: _true() + {AHEAD_S}\n",
    )
    (packages / "ahead.pth").write_text(f"{sysconfig.get_paths()['purelib']}\nimport ahead\n")
    return folder / "bin" / "python"


async def test_the_rank_that_failed_first_is_told_of_whatever_its_clock_says(stage: Stage, tmp_path: Path) -> None:
    """Nor can what it says steer the terminal: there are escapes in it."""
    python = f'python = "{python_ahead(tmp_path / "ahead")}"'
    given = stage.cluster(
        steps=FOREVER, hosts={"box0": "", "box1": python}, FAILS="no module", FAILS_TOO="no peer", PACE_S="0.02"
    )
    session = stage.session("night", seen := Seen(), given)
    await session.launch()
    ended = await session.wait()
    report = session.failed
    await session.close()
    assert ended.state == "failed"
    assert report is not None
    assert (report.root.name, report.headline) == (
        "rank 1 on box1",
        "rank 1 failed: ModuleNotFoundError: No module named 'einops'",
    )
    assert re.search(r"^einops is not installed on box1\. On box1: \S*python\S* -m pip install einops;", report.told)
    assert any("stand_in" in line or "rank.py" in line for call in report.root.words.calls for line in call)
    (other,) = report.others
    assert re.fullmatch(
        r"(at the same time|[\d.]+ s (later|before)): rank 0 on box0: RuntimeError: .* Connection closed by peer .*",
        other,
    )
    offsets = {r.host: round(r.clock_offset_s, -2) for r in seen.records if isinstance(r, Link) and r.up}
    assert offsets == {"box0": 0.0, "box1": AHEAD_S}
    said = [str(r.data) + r.text for r in seen.records if isinstance(r, Event)]
    assert not any("\x1b" in text or "\\x1b" in text for text in said)
    cause = ended.summary["cause"]
    assert re.match(r"rank 1 on box1 failed( at step \d+)?: ModuleNotFoundError: No module named 'einops'\. ", cause)
    assert stage.summary("night")["cause"] == cause
    told: list[str] = []
    assert [line async for line in logs(given, "night", 0, False, told.append)]
    assert told == [cause]
    assert stage.alive() == []


async def test_of_two_scripts_that_fail_the_cause_is_told_though_the_other_one_ended_first(stage: Stage) -> None:
    more = "[elastic]\nlost_after_s = 0.3\n"
    session, _ = await launched(stage, SCRIPT, more=more)
    ended = await session.wait()
    report = session.failed
    await session.close()
    assert ended.state == "failed"
    assert report is not None
    assert report.headline == "rank 1 failed: ModuleNotFoundError: No module named 'einops_is_not_here'"
    assert ended.summary["cause"].startswith(f"rank 1 on box1 failed: {report.root.message}. einops_is_not_here is not")
    assert any("Connection closed by peer" in line for line in report.others)
    assert stage.alive() == []
