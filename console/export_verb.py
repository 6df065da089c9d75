"""The verb `export`, for weights of a run and for engines beyond SSH: a part of `cli`, which adds it to its app."""

from __future__ import annotations

from typing import Annotated

import typer

from motley.console.verb_options import (
    DEFAULT_CONFIG,
    Config,
    Json,
    Kind,
    Merge,
    Only,
    Overrides,
    RunName,
    Weights,
    load_cluster,
    verb,
)


def add_to(app: typer.Typer) -> None:
    app.command("export")(export)


@verb
def export(
    run: Annotated[str, typer.Argument(metavar="RUN", help="The run; or kubernetes, slurm: an engine.")],
    file: Weights = None,
    config: Config = DEFAULT_CONFIG,
    best: Annotated[bool, typer.Option("--best", help="Of the best evaluation; by default the newest.")] = False,
    merge: Merge = False,
    force: Annotated[bool, typer.Option("--force", help="Write over a file that is there.")] = False,
    json: Json = False,
    kind: Kind = None,
    name: RunName = None,
    overrides: Overrides = None,
    only: Only = None,
) -> int:
    """Write what a run has trained into a file, or a folder. RUN kubernetes or slurm: a run that is to be."""
    from motley.console.commands.exports.words import of_engine, of_weights

    if run == "kubernetes":
        of_engine(run, best=best, merge=merge, json=json)
        from motley.console.commands.exports.kubernetes import export_kubernetes

        cluster = load_cluster(config, overrides or (), only or (), verb="export kubernetes")
        return export_kubernetes(cluster, name, kind or cluster.kubernetes.kind, file, force=force)
    weights = of_weights(file, kind=kind, name=name, overrides=overrides, only=only)
    if run == "slurm":
        of_engine(run, best=best, merge=merge, json=json)
        from motley.console.commands.exports.slurm import export_slurm

        return export_slurm(load_cluster(config), weights, force=force)
    cluster = load_cluster(config)
    from motley.console.commands import export as command

    return command.export_model(cluster, run, weights, best=best, merge=merge, force=force, json=json)
