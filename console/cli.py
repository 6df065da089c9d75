"""The `motley` command: one function a verb. A bare `motley` is `motley run`.

stdout is data, stderr is narration. Exit codes: 0 finished or left running, 1 failed or lost, 2 bad usage or
cluster.toml, 3 a check failed, 4 stopped before it finished. A verb imports what it needs when it runs, and what
connects to hosts only when cluster.toml has proved right: `motley --help` and a typing error are answered at once.
"""

from __future__ import annotations

import asyncio
import functools
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from remote.errors import MotleyError


class BareIsRun(TyperGroup):
    """`motley`, `motley -c FILE --plain` and the like are `motley run` with the same options."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        own = {"--help", "--version", "--install-completion", "--show-completion"}
        if not args or (args[0].startswith("-") and args[0].partition("=")[0] not in own):
            args = ["run", *args]
        return super().parse_args(ctx, args)


app = typer.Typer(
    cls=BareIsRun,
    name="motley",
    help="Train one model on the machines you have, however badly matched, and watch it live in the terminal.",
    epilog="Without a verb: motley run.",
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["--help", "-h"]},
)

Config = Annotated[Path, typer.Option("-c", "--config", metavar="FILE", help="The cluster.toml to use.")]
DEFAULT_CONFIG = Path("cluster.toml")
Overrides = Annotated[
    list[str] | None,
    typer.Option(
        "--set", metavar="KEY=VALUE", help="Change a key of cluster.toml: run.epochs=3, hosts.box1.speed=0.5."
    ),
]
Only = Annotated[list[str] | None, typer.Option("--only", metavar="HOST", help="Take only this host; may be repeated.")]
Plain = Annotated[bool, typer.Option("--plain", help="Plain lines on stderr, the summary as JSON on stdout.")]
Json = Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")]


def main() -> None:
    """The entry point. Nothing that a user can cause ends in a traceback."""
    app(prog_name="motley")


def verb(function: Callable[..., int]) -> Callable[..., None]:
    """A command of the app: its int is the exit code, its errors become a message on stderr and a code."""

    @functools.wraps(function)
    def guarded(*args: Any, **kwargs: Any) -> None:
        try:
            code = function(*args, **kwargs)
        except MotleyError as error:
            print(f"motley: {error}", file=sys.stderr)
            code = error.exit_code
        except KeyboardInterrupt:
            print("motley: interrupted", file=sys.stderr)
            code = 1
        except BrokenPipeError:  # the reader of stdout has gone, as in `motley logs RUN | head`
            sys.stdout = open("/dev/null", "w", encoding="utf-8")  # noqa: SIM115 - for the interpreter's own last flush
            code = 0
        except Exception as error:  # noqa: BLE001 - the traceback is kept in the file that the line names
            from console.crash import sentence

            print(f"motley: {sentence(error)}", file=sys.stderr)
            code = 1
        raise typer.Exit(code)

    return guarded


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import PackageNotFoundError, version

        try:
            print(f"motley {version('motley-cluster')}")
        except PackageNotFoundError:
            print("motley (not installed, run from its source)")
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
    name: Annotated[
        str | None, typer.Option("--name", help="Name of the run; by default <cluster>-<UTC time>.")
    ] = None,
    overrides: Overrides = None,
    plain: Plain = False,
    detach: Annotated[
        bool, typer.Option("--detach", help="Start the run and leave; motley attach comes back.")
    ] = False,
    resume: Annotated[
        str | None, typer.Option("--resume", metavar="RUN", help="Go on from the newest checkpoint of that run.")
    ] = None,
    only: Only = None,
    no_start: Annotated[bool, typer.Option("--no-start", help="Open the console; s starts the run.")] = False,
) -> int:
    """Start a run and watch it: the console on a terminal, plain lines elsewhere."""
    from remote.errors import UsageError

    if no_start and (plain or detach):
        raise UsageError("--no-start opens the console and waits for its s: leave out --plain and --detach")
    from console import launch

    if no_start and not launch.on_terminal():
        raise UsageError("--no-start needs a terminal: its s starts the run")
    plan = launch.run_plan(
        config, overrides=overrides or (), only=only or (), name=name, resume=resume, start=not no_start
    )
    return launch.follow(plan, plain=plain, detach=detach)


@app.command("attach")
@verb
def attach(
    run: Annotated[str | None, typer.Argument(metavar="[RUN]", help="The run; by default the newest.")] = None,
    config: Config = DEFAULT_CONFIG,
    plain: Plain = False,
    readonly: Annotated[
        bool, typer.Option("--readonly", help="Only watch: nothing of the run can be changed from here.")
    ] = False,
) -> int:
    """Come back to a run, from any machine with the cluster.toml."""
    from console import launch

    return launch.follow(launch.attach_plan(config, run, readonly=readonly), plain=plain)


@app.command("status")
@verb
def status(config: Config = DEFAULT_CONFIG, json: Json = False) -> int:
    """What runs on the hosts, and what ran there."""
    from console.launch import print_data
    from console.tables import status_text
    from remote.cluster import load

    cluster = load(config)
    from remote import runs

    data = asyncio.run(runs.status(cluster))
    if json:
        print_data(data)
    else:
        print(status_text(data))
    for silent in data.get("unreachable", []):
        print(f"✖ {silent['host']}: {silent['cause']}\n  {silent['remedy']}", file=sys.stderr)
    return 0


@app.command("stop")
@verb
def stop(run: Annotated[str, typer.Argument(metavar="RUN")], config: Config = DEFAULT_CONFIG) -> int:
    """Stop a run on every host: a checkpoint first, then no process is left."""
    from console.launch import print_data
    from remote.cluster import load

    cluster = load(config)
    from remote import runs

    record = asyncio.run(runs.stop(cluster, run, "motley stop"))
    print_data({"run": run, "state": record.state, "unanswered": list(record.unanswered)})
    if record.unanswered:
        who = ", ".join(record.unanswered)
        print(f"motley: no answer from {who}: ranks may run on there; stop again when back", file=sys.stderr)
    return 1 if record.unanswered else 0


@app.command("join")
@verb
def join(
    run: Annotated[str, typer.Argument(metavar="RUN")],
    host: Annotated[str, typer.Argument(metavar="HOST")],
    config: Config = DEFAULT_CONFIG,
) -> int:
    """Bring a host of cluster.toml into a run: a new one, or one that it lost or that was taken out."""
    from console.launch import print_data
    from console.plain import Printer
    from console.profiling import knows, store_of
    from remote.cluster import load

    cluster = load(config)
    from remote import runs

    asyncio.run(runs.join(cluster, run, host, Printer(), knows(cluster, store_of(cluster))))
    print_data({"run": run, "host": host, "state": "joined"})
    return 0


@app.command("drop")
@verb
def drop(
    run: Annotated[str, typer.Argument(metavar="RUN")],
    host: Annotated[str, typer.Argument(metavar="HOST")],
    config: Config = DEFAULT_CONFIG,
) -> int:
    """Take a host out of a run: its ranks end, the others go on."""
    from console.launch import print_data
    from remote.cluster import load

    cluster = load(config)
    from remote import runs

    answered = asyncio.run(runs.drop(cluster, run, host))
    print_data({"run": run, "host": host, "state": "dropped", "answered": answered})
    if not answered:
        print(f"motley: {host} did not answer: ranks that run on there end when they call the others", file=sys.stderr)
    return 0 if answered else 1


@app.command("logs")
@verb
def logs(
    run: Annotated[str, typer.Argument(metavar="RUN")],
    config: Config = DEFAULT_CONFIG,
    rank: Annotated[int | None, typer.Option("--rank", metavar="N", min=0, help="Only this rank's lines.")] = None,
    follow: Annotated[bool, typer.Option("-f", "--follow", help="Go on with new lines as they come.")] = False,
) -> int:
    """What the ranks of a run print."""
    from remote.cluster import load

    cluster = load(config)
    from remote import runs

    async def copy() -> None:
        async for line in runs.logs(cluster, run, rank, follow, told=causes.append):
            print(f"{line.host} #{line.member}  {line.text}", flush=follow)

    causes: list[str] = []
    asyncio.run(copy())
    for cause in causes:
        print(f"motley: {run}: {cause}", file=sys.stderr)
    return 0


@app.command("clean")
@verb
def clean(
    config: Config = DEFAULT_CONFIG,
    older: Annotated[
        float, typer.Option("--older", metavar="DAYS", min=0.0, help="Only what nobody has changed for so long.")
    ] = 7.0,
    yes: Annotated[bool, typer.Option("--yes", help="Remove without asking.")] = False,
    json: Json = False,
    only: Only = None,
) -> int:
    """Remove old runs, code and data from the hosts: shows their sizes and asks first."""
    from remote.cluster import load

    cluster = load(config, (), only or ())
    from console import cleaning

    return cleaning.clean(cluster, older_days=older, yes=yes, json=json)


@app.command("profile")
@verb
def profile(config: Config = DEFAULT_CONFIG, json: Json = False, overrides: Overrides = None, only: Only = None) -> int:
    """Measure what every host can do: short steps of the task, memory, and the network to the leader."""
    from console.launch import print_data
    from console.plain import Printer
    from console.profiling import measure
    from console.tables import profiles_text
    from remote.cluster import load
    from remote.script_keys import needs_task

    cluster = load(config, overrides or (), only or ())
    needs_task(cluster, "motley profile")
    profiles, findings = asyncio.run(measure(cluster, Printer()))
    if json:
        data = {"profiles": [p.as_dict() for p in profiles], "findings": [f.as_dict() for f in findings]}
        print_data(data)
    elif profiles:
        print(profiles_text(profiles))
    for finding in findings:
        sign = "✖" if finding.level == "error" else "!"
        print(f"{sign} {finding.host}: {finding.cause}\n    {finding.remedy}", file=sys.stderr)
    return int(any(finding.level == "error" for finding in findings))


@app.command("plan")
@verb
def plan(config: Config = DEFAULT_CONFIG, json: Json = False, overrides: Overrides = None, only: Only = None) -> int:
    """Predict samples/s for subsets of the hosts, batch sizes and compression, from profiles; and say which to take."""
    from console.launch import print_data
    from console.planning import plan_data, plan_text, planned
    from console.profiling import store_of
    from remote.cluster import load
    from remote.script_keys import needs_task

    cluster = load(config, overrides or (), only or ())
    needs_task(cluster, "motley plan")
    found = planned(cluster, store_of(cluster))
    if json:
        print_data(plan_data(found))
    else:
        print(plan_text(found, cluster.run.global_batch))
    return 0


@app.command("check")
@verb
def check(config: Config = DEFAULT_CONFIG, json: Json = False, overrides: Overrides = None, only: Only = None) -> int:
    """Look at every host without starting anything; each finding names its cause and remedy."""
    from console.launch import asker, print_data
    from console.plain import Printer
    from console.tables import findings_text
    from remote.cluster import load
    from remote.introduced import nobody

    cluster = load(config, overrides or (), only or ())
    from remote.check import preflight

    findings = asyncio.run(preflight(cluster, Printer(), nobody if json else asker()))
    ok = not any(finding.level == "error" for finding in findings)
    if json:
        print_data({"ok": ok, "findings": [finding.as_dict() for finding in findings]})
    else:
        print(findings_text(findings, hosts=len(cluster.hosts)))
    return 0 if ok else 3


@app.command("keys")
@verb
def keys(
    hosts: Annotated[list[str] | None, typer.Argument(metavar="[HOST]...", help="By default all of them.")] = None,
    config: Config = DEFAULT_CONFIG,
) -> int:
    """Set up SSH keys: puts yours on every host that does not let you in yet; asks for each password once."""
    from remote.cluster import load

    cluster = load(config)
    from console import setting_up

    return setting_up.set_up(cluster, hosts or ())
