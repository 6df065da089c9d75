"""The `motley` command: one function a verb. A bare `motley` is `motley run`.

stdout is data, stderr is narration. Exit codes: 0 finished or left running, 1 failed or lost, 2 bad usage or
cluster.toml, 3 a check failed, 4 stopped before it finished. A verb imports what it needs when it runs, and what
connects to hosts only when cluster.toml has proved right: `motley --help` and a typing error are answered at once.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from motley import __version__
from motley.console import after_run_verbs, export_verb, serve_verb
from motley.console.verb_options import (
    DEFAULT_CONFIG,
    BareIsRun,
    Config,
    Detach,
    History,
    Json,
    OlderDays,
    Only,
    Overrides,
    Plain,
    Readonly,
    Resume,
    RunName,
    Train,
    WithResults,
    load_cluster,
    verb,
)

app = typer.Typer(
    cls=BareIsRun,
    name="motley",
    help="Train one model on the machines you have, however badly matched, and watch it live in the terminal.",
    epilog="Without a verb: motley run.",
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["--help", "-h"]},
)


def main() -> None:
    """The entry point. Nothing that a user can cause ends in a traceback."""
    app(prog_name="motley")


def _version(wanted: bool) -> None:
    if wanted:
        print(f"motley {__version__}")
        raise typer.Exit


@app.callback()
def options(
    show_version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_version, help="Print the version and exit.")
    ] = False,
) -> None:
    """Options of `motley` itself."""
    del show_version


@app.command("run")
@verb
def run(
    config: Config = DEFAULT_CONFIG,
    name: RunName = None,
    overrides: Overrides = None,
    plain: Plain = False,
    detach: Detach = False,
    resume: Resume = None,
    only: Only = None,
    no_start: Annotated[bool, typer.Option("--no-start", help="Open the console; s starts the run.")] = False,
) -> int:
    """Start a run and watch it: the console on a terminal, plain lines elsewhere."""
    from motley.remote.errors import UsageError

    if no_start and (plain or detach):
        raise UsageError("--no-start opens the console and waits for its s: leave out --plain and --detach")
    from motley.console.commands.run import follow, run_plan
    from motley.console.control.terminal_prompts import on_terminal

    if no_start and not on_terminal():
        raise UsageError("--no-start needs a terminal: its s starts the run")
    plan = run_plan(config, overrides=overrides or (), only=only or (), name=name, resume=resume, start=not no_start)
    return follow(plan, plain=plain, detach=detach)


@app.command("attach")
@verb
def attach(
    run: Annotated[str | None, typer.Argument(metavar="[RUN]", help="The run; by default the newest.")] = None,
    config: Config = DEFAULT_CONFIG,
    plain: Plain = False,
    readonly: Readonly = False,
    history: History = False,
) -> int:
    """Come back to a run, from any machine with the cluster.toml."""
    from motley.console.commands.run import attach_plan, follow

    plan = attach_plan(config, run, readonly=readonly)
    return follow(plan, plain=plain or history, history=history)


@app.command("status")
@verb
def status(config: Config = DEFAULT_CONFIG, json: Json = False) -> int:
    """What runs on the hosts, and what ran there."""
    cluster = load_cluster(config)
    from motley.console.commands import status as command

    return command.status(cluster, json=json)


@app.command("stop")
@verb
def stop(run: Annotated[str, typer.Argument(metavar="RUN")], config: Config = DEFAULT_CONFIG) -> int:
    """Stop a run on every host: a checkpoint first, then no process is left."""
    cluster = load_cluster(config)
    from motley.console.commands import stop as command

    return command.stop(cluster, run)


@app.command("checkpoint")
@verb
def checkpoint(
    run: Annotated[str, typer.Argument(metavar="RUN")], config: Config = DEFAULT_CONFIG, json: Json = False
) -> int:
    """Have a run that is on write a checkpoint at the end of its step."""
    cluster = load_cluster(config)
    from motley.console.commands import checkpoint as command

    return command.checkpoint(cluster, run, json=json)


@app.command("join")
@verb
def join(
    run: Annotated[str, typer.Argument(metavar="RUN")],
    host: Annotated[str, typer.Argument(metavar="HOST")],
    config: Config = DEFAULT_CONFIG,
) -> int:
    """Bring a host of cluster.toml into a run: a new one, or one that it lost or that was taken out."""
    cluster = load_cluster(config)
    from motley.console.commands import members

    return members.join(cluster, run, host)


@app.command("drop")
@verb
def drop(
    run: Annotated[str, typer.Argument(metavar="RUN")],
    host: Annotated[str, typer.Argument(metavar="HOST")],
    config: Config = DEFAULT_CONFIG,
) -> int:
    """Take a host out of a run: its ranks end, the others go on."""
    cluster = load_cluster(config)
    from motley.console.commands import members

    return members.drop(cluster, run, host)


@app.command("logs")
@verb
def logs(
    run: Annotated[str, typer.Argument(metavar="RUN")],
    config: Config = DEFAULT_CONFIG,
    rank: Annotated[int | None, typer.Option("--rank", metavar="N", min=0, help="Only this rank's lines.")] = None,
    follow: Annotated[bool, typer.Option("-f", "--follow", help="Go on with new lines as they come.")] = False,
) -> int:
    """What happened in a run, in order of time, and what its ranks print."""
    cluster = load_cluster(config)
    from motley.console.commands import logs as command

    return command.logs(cluster, run, rank=rank, follow=follow)


@app.command("clean")
@verb
def clean(
    config: Config = DEFAULT_CONFIG,
    older: OlderDays = 7.0,
    yes: Annotated[bool, typer.Option("--yes", help="Remove without asking.")] = False,
    with_results: WithResults = False,
    json: Json = False,
    only: Only = None,
) -> int:
    """Remove old runs, code and data from the hosts: shows their sizes and asks first."""
    cluster = load_cluster(config, (), only or ())
    from motley.console.commands import clean as command

    return command.clean(cluster, older_days=older, yes=yes, json=json, with_results=with_results)


@app.command("profile")
@verb
def profile(config: Config = DEFAULT_CONFIG, json: Json = False, overrides: Overrides = None, only: Only = None) -> int:
    """Measure what every host can do: short steps of the task, memory, and the network to the leader."""
    from motley.remote.config.command_line import needs_task

    cluster = load_cluster(config, overrides or (), only or (), verb="profile")
    needs_task(cluster, "motley profile")
    from motley.console.commands import profile as command

    return command.profile(cluster, json=json)


@app.command("plan")
@verb
def plan(config: Config = DEFAULT_CONFIG, json: Json = False, overrides: Overrides = None, only: Only = None) -> int:
    """Predict samples/s for subsets of the hosts, batch sizes and compression, from profiles; and say which to take."""
    from motley.console.commands import plan as command
    from motley.remote.config.command_line import needs_task

    cluster = load_cluster(config, overrides or (), only or ())
    needs_task(cluster, "motley plan")
    return command.plan(cluster, json=json)


@app.command("tasks")
@verb
def tasks(json: Json = False) -> int:
    """The models and data sets that come with Motley, with their sizes."""
    from motley.console.commands import tasks

    return tasks.tasks(json=json)


@app.command("new")
@verb
def new(
    what: Annotated[Literal["task"], typer.Argument(metavar="task", help="What to write.")],
    file: Annotated[Path, typer.Argument(metavar="[FILE]", help="Where to.", show_default=True)] = Path("night.py"),
) -> int:
    """Write a task of your own to begin with: `motley new task night.py`."""
    from motley.console.commands.new import new_task

    del what
    return new_task(file)


@app.command("check")
@verb
def check(
    config: Config = DEFAULT_CONFIG,
    json: Json = False,
    overrides: Overrides = None,
    only: Only = None,
    train: Train = False,
) -> int:
    """Look at every host without starting anything; each finding names its cause and how to fix it."""
    cluster = load_cluster(config, overrides or (), only or ())
    from motley.console.commands import check as command

    return command.check(cluster, json=json, train=train)


@app.command("keys")
@verb
def keys(
    hosts: Annotated[list[str] | None, typer.Argument(metavar="[HOST]...", help="By default all of them.")] = None,
    config: Config = DEFAULT_CONFIG,
) -> int:
    """Set up SSH keys: puts yours on every host that does not let you in yet; asks for each password once."""
    cluster = load_cluster(config)
    from motley.console.commands import keys as command

    return command.set_up(cluster, hosts or ())


after_run_verbs.add_to(app)
export_verb.add_to(app)
serve_verb.add_to(app)
