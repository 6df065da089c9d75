"""`motley serve`: a run in a browser, or for other programs."""

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
    control: Annotated[
        bool, typer.Option("--control", help="The page may change the run; without it, it only watches.")
    ] = False,
    port: Annotated[
        int | None,
        typer.Option("--port", metavar="N", min=0, max=65535, help="By default 9465, of metrics 9464; 0: a free one."),
    ] = None,
) -> int:
    """The console as a page in a browser of this machine, until Ctrl-C; or a run's metrics."""
    from motley.remote.errors import UsageError

    if not prometheus:
        from motley.console.commands.serving.browser.serve_page import PORT, serve_page

        return serve_page(config, run, port=PORT if port is None else port, control=control)
    if control:
        raise UsageError("--control is for the page; --prometheus only reads")
    from motley.console.commands.run import attach_plan
    from motley.console.commands.serving.prometheus import serve_metrics

    return serve_metrics(attach_plan(config, run, readonly=True), port=9464 if port is None else port)
