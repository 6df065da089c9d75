"""`[run] results` in cluster.toml: what can be no pattern is told with its line."""

from __future__ import annotations

from pathlib import Path

import pytest

from motley.remote.config.load import load
from motley.remote.errors import ConfigError

HOST = '[[hosts]]\nname = "box1"\n'
SCRIPT = '[run]\nscript = "train.py"\n'


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (SCRIPT + 'results = ["/tmp/out/**"]', '5: run.results.#1: "/tmp/out/**" is not relative'),
        (SCRIPT + 'results = ["out/**", "../x"]', '5: run.results.#2: "../x" has a part that is empty, "." or ".."'),
        (SCRIPT + 'results = ["**"]', "would be all of the project; name the folder that the script writes to"),
        (SCRIPT + "results_gib = 0", "5: run.results_gib: must be above 0"),
        (SCRIPT + 'results_from = "rank1"', '5: run.results_from: must be "rank0" or "all", is "rank1"'),
        ('[run]\nresults = ["out/**"]', "4: run.results: is for a script; what a task saves comes home as its"),
        (
            SCRIPT + 'results = ["out/**"]\n[[hosts]]\nname = "latest"',
            'a host is called "latest", where results/latest',
        ),
    ],
)
def test_what_is_wrong_is_told_with_its_line(tmp_path: Path, text: str, expected: str) -> None:
    path = tmp_path / "cluster.toml"
    path.write_text(HOST + text)
    with pytest.raises(ConfigError) as caught:
        load(path)
    (problem,) = caught.value.problems
    assert expected in problem


def test_a_host_called_latest_is_fine_where_nothing_comes_home(tmp_path: Path) -> None:
    path = tmp_path / "cluster.toml"
    path.write_text(f'{HOST}{SCRIPT}[[hosts]]\nname = "latest"\n')
    assert [host.name for host in load(path).hosts] == ["box1", "latest"]
