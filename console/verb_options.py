"""What the verbs of `motley` share: options that several have, and what becomes of their errors.

Only `cli` and its parts may enter.

@app.command("status")
@verb
def status(config: Config = DEFAULT_CONFIG, json: Json = False) -> int: ...
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from typer.core import TyperGroup

from motley.remote.errors import MotleyError

if TYPE_CHECKING:
    from motley.remote.config.cluster import Cluster


class BareIsRun(TyperGroup):
    """`motley`, `motley -c FILE --plain` and the like are `motley run` with the same options."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        own = {"--help", "--version", "--install-completion", "--show-completion"}
        if not args or (args[0].startswith("-") and args[0].partition("=")[0] not in own):
            args = ["run", *args]
        return super().parse_args(ctx, args)


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
RunName = Annotated[str | None, typer.Option("--name", help="Name of the run; by default <cluster>-<UTC time>.")]
Resume = Annotated[
    str | None,
    typer.Option(
        "--resume",
        metavar="RUN[@NAME]|FILE",
        help="Go on from the newest checkpoint of that run; from one of its others: RUN@best, RUN@epoch_5, "
        "RUN@step_1200, RUN@final; or from a checkpoint's file on this machine.",
    ),
]
OlderDays = Annotated[
    float, typer.Option("--older", metavar="DAYS", min=0.0, help="Only what nobody has changed for so long.")
]
WithResults = Annotated[
    bool, typer.Option("--with-results", help="Also runs whose results are nowhere but on their host.")
]
Train = Annotated[
    bool,
    typer.Option("--train", help="Also do two real steps on every host, or run a script without a session 20 s."),
]
Merge = Annotated[
    bool, typer.Option("--merge", help="A whole model: an adapter together with the base model it belongs to.")
]
Readonly = Annotated[bool, typer.Option("--readonly", help="Only watch: nothing of the run can be changed from here.")]
History = Annotated[bool, typer.Option("--history", help="In plain lines, with all that the run has told before.")]
Detach = Annotated[bool, typer.Option("--detach", help="Start the run and leave; motley attach comes back.")]
Weights = Annotated[
    Path | None,
    typer.Argument(
        metavar="FILE",
        help="Its end says the format: .safetensors or .pt; none: a folder. Of kubernetes: by default stdout.",
    ),
]
Kind = Annotated[
    Literal["pytorchjob", "trainjob", "jobset"] | None,
    typer.Option("--kind", help="Of kubernetes: what runs the pods; by default as in cluster.toml."),
]


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
            from motley.console.crash_log import sentence

            print(f"motley: {sentence(error)}", file=sys.stderr)
            code = 1
        raise typer.Exit(code)

    return guarded


def load_cluster(
    config: Path, overrides: Sequence[str] = (), only: Sequence[str] = (), *, verb: str = "run"
) -> Cluster:
    """As `remote.config.load.load`."""
    from motley.remote.config.load import load

    return load(config, overrides, only, verb=verb)
