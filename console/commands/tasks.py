"""`motley tasks`: the models and data sets that come with Motley, with their sizes."""

from __future__ import annotations

from motley.console.commands.json_output import print_data
from motley.trainer.contract.task_list import DATA, MODELS, DataFacts, parameters
from motley.trainer.contract.task_name import INCLUDED

WORDS = {"causal_lm": "a language model; [task] names it and its data"}
OWN = 'Or one of your own: task = "night.py". To begin with one: motley new task'


def tasks(*, json: bool) -> int:
    if json:
        rows = [_row(model, name) for model in MODELS for name in DATA]
        print_data({"tasks": rows, "with_parameters": list(INCLUDED)})
    else:
        print("\n".join(lines()))
    return 0


def lines() -> list[str]:
    """At most 80 columns."""
    shown = ["[run] task = MODEL/DATASET; any model goes with any data set.", "", f"{'model':<12}{'parameters':>12}"]
    for model, words in MODELS.items():
        counts = [count / 1e6 for name in DATA if (count := parameters(model, name)) is not None]
        shown.append(f"{model:<12}{_millions(min(counts), max(counts)):>12}  {words}")
    shown += ["", f"{'data set':<17}{'train':>7}{'test':>8}  {'pictures':<9}{'classes':>7}  downloaded"]
    for name, data in DATA.items():
        sizes = f"{_count(data.train):>7}{_count(data.test):>8}"
        shown.append(f"{name:<17}{sizes}  {_picture(data):<9}{_count(data.classes):>7}  {data.comes}")
    shown += ["", *(f"{name:<12}{WORDS[name]}" for name in INCLUDED)]
    return [*shown, "", OWN]


def _millions(least: float, most: float) -> str:
    """`0.07-0.16 M`, `11.2 M`."""
    ends = [f"{value:.2f}" if value < 1 else f"{value:.1f}" for value in (least, most)]
    return f"{'-'.join(dict.fromkeys(ends))} M"


def _count(number: int | None) -> str:
    return "any" if number is None else f"{number:,}"


def _picture(data: DataFacts) -> str:
    return "any" if data.size is None else f"{data.channels}x{data.size}x{data.size}"


def _row(model: str, name: str) -> dict[str, object]:
    data = DATA[name]
    return {
        "task": f"{model}/{name}", "parameters": parameters(model, name), "train": data.train, "test": data.test,
        "sample": [data.channels, data.size, data.size], "classes": data.classes,
    }  # fmt: skip
