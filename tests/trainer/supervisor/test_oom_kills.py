"""What the kernel says of processes that it ended for lack of memory."""

from __future__ import annotations

from pathlib import Path

import pytest

from motley.trainer.errors import CheckpointMissing, told
from motley.trainer.supervisor.oom_kills import oom_kills


@pytest.mark.parametrize(
    ("text", "kills"), [("pgfault 9\noom_kill 3\nswap 1\n", 3), ("pgfault 9\n", 0), ("oom_kill x", 0)]
)
def test_it_is_counted_where_the_kernel_counts_it(tmp_path: Path, text: str, kills: int) -> None:
    (tmp_path / "vmstat").write_text(text)
    assert oom_kills(tmp_path / "vmstat") == kills
    assert oom_kills(tmp_path / "none") == 0
    assert oom_kills() >= 0


def test_an_error_is_told_in_one_line_with_the_remedy_it_brings() -> None:
    assert told(KeyError("lr")) == ("KeyError: 'lr'", "")
    assert told(RuntimeError("first\nsecond")) == ("RuntimeError: first", "")
    assert told(RuntimeError("in Net:\n\tsize mismatch\n\tmore")) == ("RuntimeError: in Net: size mismatch", "")
    assert told(AssertionError()) == ("AssertionError", "")
    assert told(CheckpointMissing("final.pt: no such file", "Name another run")) == (
        "final.pt: no such file",
        "Name another run",
    )
