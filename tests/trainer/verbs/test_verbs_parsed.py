"""A verb's words are read at the start of every process on a host: quickly where they are plain, else by argparse."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from motley.trainer.__main__ import parse, parse_any, parse_plain

RUN = ["--run", "night", "--host", "box1"]
PLAIN = [
    ["supervise"],
    ["supervise", "--room", "...."],
    ["coordinate", *RUN, "--listen-fd", "7"],
    ["rank", *RUN, "--member", "3"],
    ["rank", "--anew", *RUN, "--member", "0"],
    ["forkserver", *RUN, "--control", "5", "--room", "...."],
    ["attach", *RUN],
    ["results", *RUN, "--once"],
    ["rejoin", *RUN, "--ended"],
    ["status"],
    ["status", "--host", "box1"],
    ["stop", *RUN, "--reason", "asked to: -x"],
    ["stop", *RUN, "--reason", ""],
    ["stop", *RUN],
    ["clean", "--host", "box1", "--remove"],
    ["calibrate"],
]
OTHERS = [
    ["fetch", *RUN, "checkpoints/last.pt"],
    ["export", *RUN, "--format", "pt", "--inside"],
    ["link", "--listen", "10.0.0.1"],
    ["link", "--connect", "10.0.0.1", "--port", "4000"],
    ["contained", "--lock", "/lock", "python3", "-m", "motley.trainer", "rank", "--member", "1"],
    ["stop", *RUN, "--reason=-1"],
    ["rank", *RUN, "--mem", "3"],
]
WRONG = [
    [],
    ["no-such-verb"],
    ["rank", *RUN],
    ["rank", *RUN, "--member"],
    ["rank", *RUN, "--member", "one"],
    ["rank", *RUN, "--member", "1", "more"],
    ["attach", *RUN, "--colour", "red"],
    ["attach", "--run", "--host", "box1"],
    ["link"],
    ["link", "--listen", "10.0.0.1", "--connect", "10.0.0.2"],
]


@pytest.mark.parametrize("words", PLAIN)
def test_plain_words_are_read_as_argparse_does(words: list[str]) -> None:
    assert vars(parse_plain(words)) == vars(parse_any(words))


@pytest.mark.parametrize("words", OTHERS)
def test_other_words_are_left_to_argparse(words: list[str]) -> None:
    assert parse_plain(words) is None
    assert vars(parse(words)) == vars(parse_any(words))


@pytest.mark.parametrize("words", WRONG)
def test_what_is_wrong_is_said_by_argparse(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert parse_plain(words) is None
    with pytest.raises(SystemExit, match="2"):
        parse(words)
    assert capsys.readouterr().err.startswith("usage: python -m motley.trainer")


def test_plain_words_need_no_argparse() -> None:
    code = "from motley.trainer.__main__ import parse; import json, sys; parse(json.loads(sys.argv[1]))"
    code += "; assert 'argparse' not in sys.modules"
    subprocess.run([sys.executable, "-c", code, json.dumps(["rank", *RUN, "--member", "1"])], check=True)
