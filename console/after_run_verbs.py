"""The verbs that tell of a run afterwards: the second half of `cli`, which adds them to its app."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from motley.console.verb_options import DEFAULT_CONFIG, Config, Json, Only, load_cluster, verb

Html = Annotated[
    Path | None,
    typer.Option("--html", metavar="FILE", help="Write one self-contained page; nothing in it is from the network."),
]


def add_to(app: typer.Typer) -> None:
    app.command("report")(report)
    app.command("compare")(compare)
    app.command("replay")(replay)
    app.command("sweep")(sweep)
    app.command("verify")(verify)
    app.command("fetch")(fetch)
    app.command("track")(track)


@verb
def report(
    run: Annotated[str, typer.Argument(metavar="RUN", help="Its name in experiments/, or a path to its folder.")],
    config: Config = DEFAULT_CONFIG,
    html: Html = None,
    json: Json = False,
) -> int:
    """What a run came to: figures, curves, hosts, what went wrong, what balancing saved."""
    from motley.console.commands.after_run import report as command

    return command.report(config, run, html=html, json=json)


@verb
def compare(
    runs: Annotated[list[str], typer.Argument(metavar="RUN RUN...", help="Names in experiments/, or paths.")],
    config: Config = DEFAULT_CONFIG,
    baseline: Annotated[
        str | None,
        typer.Option("--baseline", metavar="RUN", help="What the others are told against; by default the first."),
    ] = None,
    by: Annotated[
        Literal["step", "epoch", "time"], typer.Option("--by", help="What the curves are drawn over.")
    ] = "step",
    html: Html = None,
    json: Json = False,
) -> int:
    """Runs beside each other: settings that differ, figures with the best marked, curves."""
    from motley.console.commands.after_run import compare as command

    return command.compare_runs(config, runs, baseline=baseline, by=by, html=html, json=json)


@verb
def fetch(
    run: Annotated[str, typer.Argument(metavar="RUN")], config: Config = DEFAULT_CONFIG, json: Json = False
) -> int:
    """Bring home what a run in Kubernetes has left on its volume: checkpoints, results, logs."""
    cluster = load_cluster(config)
    from motley.console.commands.after_run import fetch as command
    from motley.remote.config.command_line import check_run_name

    check_run_name(run)

    return command.fetch(cluster, run, json=json)


@verb
def replay(
    run: Annotated[str, typer.Argument(metavar="RUN", help="Its name in experiments/, or a path to its folder.")],
    config: Config = DEFAULT_CONFIG,
    speed: Annotated[
        float, typer.Option("--speed", metavar="N", min=1 / 16, max=4096, help="So many times as fast as it was.")
    ] = 1.0,
    at: Annotated[
        int | None, typer.Option("--at", metavar="STEP", min=1, help="Begin at the end of this step.")
    ] = None,
) -> int:
    """A run again, on the same screen as when it was on: hold, seek, step by step. No host is asked."""
    from motley.console.commands.after_run import replay as command

    return command.replay(config, run, speed=speed, at=at)


@verb
def sweep(
    settings: Annotated[
        list[str],
        typer.Option(
            "--set",
            metavar="KEY=VALUE,VALUE",
            help="A key of cluster.toml and its values; several: each value with every value of the others.",
        ),
    ],
    config: Config = DEFAULT_CONFIG,
    name: Annotated[
        str | None, typer.Option("--name", help="What its runs are named after; by default it follows from --set.")
    ] = None,
    only: Only = None,
    by: Annotated[
        Literal["step", "epoch", "time"], typer.Option("--by", help="What the curves are drawn over.")
    ] = "step",
    html: Html = None,
    json: Json = False,
) -> int:
    """A run for each of several settings, one after the other, and their comparison. Called again it goes on."""
    from motley.console.commands.sweeps import sweep as command

    return command.sweep(config, settings, name=name, only=only or (), by=by, html=html, json=json)


@verb
def verify(
    run: Annotated[str, typer.Argument(metavar="RUN", help="Its name in experiments/, or a path to its folder.")],
    step: Annotated[int, typer.Option("--step", metavar="N", min=1, help="One after a checkpoint; 1 is one.")],
    config: Config = DEFAULT_CONFIG,
    python: Annotated[
        str | None, typer.Option("--python", metavar="PYTHON", help="One that has torch; by default this one.")
    ] = None,
    data: Annotated[
        str | None, typer.Option("--data", metavar="FOLDER", help="Where the training data is, on that machine.")
    ] = None,
    on: Annotated[
        str | None,
        typer.Option("--on", metavar="HOST", help="A host of cluster.toml that is to compute it."),
    ] = None,
    json: Json = False,
) -> int:
    """Compute one step again on one machine alone, and compare its loss and gradient with what the run wrote."""
    from motley.console.commands.after_run import verify as command
    from motley.remote.errors import UsageError

    if on is not None and python is not None:
        raise UsageError(f"--python is one of this machine; {on} takes that of the run, or its own in cluster.toml")
    there = (load_cluster(config), on) if on is not None else None
    return command.verify(config, run, step, python=python, data=data, on=there, json=json)


@verb
def track(
    run: Annotated[str, typer.Argument(metavar="RUN", help="Its name in experiments/, or a path to its folder.")],
    config: Config = DEFAULT_CONFIG,
    trackers: Annotated[
        list[str] | None,
        typer.Option("--with", metavar="TRACKER", help="tensorboard, wandb, mlflow, trackio or aim; may be repeated."),
    ] = None,
    json: Json = False,
) -> int:
    """Write a run to trackers, from its folder: what they have of it already is not written twice."""
    from motley.console.commands.after_run import track as command

    return command.track(config, run, trackers or (), json=json)
