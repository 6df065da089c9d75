"""The scripted run as its folder has it: what a replay is told from."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from motley.trainer.contract.wire import Event, Sample
from tests.console import scripted
from tests.console.report.experiments import write

BEGAN = scripted.START
HOSTS = "".join(f'[[hosts]]\nname = "{name}"\nspeed = {speed}\n' for name, speed in scripted.SPEEDS.items())
TOML = f"""
[cluster]
name = "demo"
connect = "demo"
{HOSTS}
[run]
task = "simple_cnn/digits"
global_batch = 256
"""


def folder(path: Path, *, steps: int = 60, ended: bool = True) -> Path:
    """Four hosts, `steps` steps of a tenth of a second, and a word on the end unless the run goes on."""
    at, events, samples = BEGAN, [], []
    for wait_s, record in (*scripted.startup(path.name), *scripted.training(steps)):
        at += wait_s
        if isinstance(record, Event):
            events.append(dataclasses.replace(record, time=at))
        elif isinstance(record, Sample):
            samples.append(dataclasses.replace(record, time=at))
    if ended:
        events += [scripted.event("ended", "finished", host=host, time=at, state="finished") for host in scripted.HOSTS]
    told = scripted.summary(path.name, steps=steps) if ended else None
    return write(path, events, samples, told=told, toml=TOML)
