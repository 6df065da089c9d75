"""`motley serve`: a run for other programs."""

from __future__ import annotations

from typing import Annotated

import typer

from motley.console.verb_options import DEFAULT_CONFIG, Config, verb


def add_to(app: typer.Typer) -> None:
    app.command("serve")(serve)


@verb
def serve(
    run: Annotated[str | None, typer.Argument(metavar="[RUN]", help="The run; by default the newest.")] = None,
    config: Config = DEFAULT_CONFIG,
    prometheus: Annotated[
        bool, typer.Option("--prometheus", help="Its metrics for Prometheus, on a port of this machine alone.")
    ] = False,
    port: Annotated[int, typer.Option("--port", metavar="N", min=0, max=65535, help="Of it; 0: one that is free.")] = (
        9464
    ),
) -> int:
    """Follow a run, only to look at it, and serve what others read of it, until Ctrl-C."""
    from motley.remote.errors import UsageError

    if not prometheus:
        raise UsageError("say what is to be served: --prometheus")
    from motley.console.commands.run import attach_plan
    from motley.console.commands.serving.prometheus import serve_metrics

    return serve_metrics(attach_plan(config, run, readonly=True), port=port)
