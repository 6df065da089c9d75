"""Keys of [run] that do not go together are refused with both of their names."""

from __future__ import annotations

from pathlib import Path

import pytest

from motley.remote.config.load import load
from motley.remote.errors import ConfigError


def problems(folder: Path, run: str) -> list[str]:
    path = folder / "cluster.toml"
    path.write_text(f'[[hosts]]\nname = "box1"\n[run]\n{run}\n')
    try:
        load(path, ())
    except ConfigError as error:
        return list(error.problems)
    return []


@pytest.mark.parametrize(
    ("run", "said"),
    [
        ("steps = 10\nwarmup_steps = 9", []),
        ("warmup_steps = 900", []),  # how many steps there are is known where the data is
        (
            "steps = 10\nwarmup_steps = 10",
            ["cluster.toml:5: run.warmup_steps: must be below run.steps, 10, is 10"],
        ),
        (
            "early_stop = 2\neval_every = 0",
            ["cluster.toml:4: run.early_stop: counts evaluations, and with eval_every = 0 there is only the last one"],
        ),
        (
            'dtype = "float64"\nprecision = "auto"',
            ['cluster.toml:5: run.precision: does nothing for dtype = "float64"; keep one of them'],
        ),
        ('script = "train.py"\nsteps = 10\nwarmup_steps = 10', []),
    ],
)
def test_keys_that_do_not_go_together(tmp_path: Path, run: str, said: list[str]) -> None:
    assert problems(tmp_path, run) == said
