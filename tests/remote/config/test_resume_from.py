"""What `--resume` may name, and what is said of what it can't."""

from __future__ import annotations

from pathlib import Path

import pytest

from motley.remote.config.resume_from import ResumeFrom, trailer_of
from motley.remote.errors import UsageError
from motley.trainer.contract.checkpoint_trailer import Trailer
from tests.remote.stand_in_rank import sealed


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("night", ResumeFrom("night")),
        ("night@best", ResumeFrom("night", "best")),
        ("night@epoch_5.pt", ResumeFrom("night", "epoch_5")),
        ("night.1@final", ResumeFrom("night.1", "final")),
        ("night@my-net", ResumeFrom("night", "my-net")),
        ("best.pt", ResumeFrom("", file=Path("best.pt"))),
        ("~nobody-has-this-name/best.pt", ResumeFrom("", file=Path("~nobody-has-this-name/best.pt"))),
        ("./night@home/best", ResumeFrom("", file=Path("night@home/best"))),
        ("experiments/night/checkpoints/best.pt", ResumeFrom("", file=Path("experiments/night/checkpoints/best.pt"))),
    ],
)
def test_a_run_one_of_its_checkpoints_or_a_file(text: str, meant: ResumeFrom) -> None:
    assert ResumeFrom.of(text) == meant


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "the name of a run"),
        ("ni ght", "the name of a run"),
        ("@best", "the name of a run"),
        ("night@", "after the @ comes best, final, stop, held, epoch_5 or step_1200"),
        ("night@the best", 'night@the best: "the best" is no checkpoint'),
    ],
)
def test_what_can_be_none_of_them(text: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        ResumeFrom.of(text)


def test_a_step_is_found_under_any_name_and_a_name_at_any_step() -> None:
    at_12 = Trailer(step=12, sha256="")
    assert ResumeFrom("night", "step_12").fits("epoch_2.pt", at_12)
    assert ResumeFrom("night", "step_0012").fits("step_12.pt", at_12)
    assert not ResumeFrom("night", "step_1").fits("step_12.pt", at_12)
    assert ResumeFrom("night", "epoch_2").fits("epoch_2.pt", at_12)
    assert not ResumeFrom("night", "epoch_2").fits("epoch_20.pt", at_12)
    assert ResumeFrom("night").fits("anything.pt", at_12)


def test_a_file_that_is_no_checkpoint_is_refused_before_anything_is_done(tmp_path: Path) -> None:
    (tmp_path / "other.pt").write_bytes(b"PK something else")
    (tmp_path / "best.pt").write_bytes(sealed(b"state", 7))
    with pytest.raises(UsageError, match=r"missing\.pt: can't be read \(No such file or directory\)"):
        trailer_of(tmp_path / "missing.pt")
    with pytest.raises(UsageError, match=r"is a folder; name a file in it, such as .*final\.pt"):
        trailer_of(tmp_path)
    with pytest.raises(UsageError, match=r"other\.pt: is cut short, or no checkpoint that Motley has written"):
        trailer_of(tmp_path / "other.pt")
    assert trailer_of(tmp_path / "best.pt").step == 7
