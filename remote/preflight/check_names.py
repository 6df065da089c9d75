"""What `motley check` looks at: the names that findings bear, in the order in which a host meets them.

What a check of a host looks for is decided in `judge` and `judge_*`. What only shows later is found where it is done:
devices that become ranks in `remote.launch.placement`, a try of the task in `remote.launch.trial`, code, packages and
data in `remote.provision`, this machine's battery in `power`. docs/check.md is what `page` returns:

    python -m motley.remote.preflight.check_names > docs/check.md
"""

from __future__ import annotations

import sys

ERROR, WARNING, BOTH = "error", "warning", "error or warning"

# name: how grave it is, what is looked at
CHECKS: dict[str, tuple[str, str]] = {
    "connect": (ERROR, "what `~/.ssh/config` and cluster.toml say of the way there can be used: keys, jump hosts"),
    "reachable": (ERROR, "the name is known, sshd answers at the address and port, by way of the jump hosts"),
    "host_key": (
        ERROR,
        "its host key is in your `known_hosts`, or you say yes to it; a changed one is refused",
    ),
    "authentication": (ERROR, "one of your keys lets you in; `motley keys` puts it there"),
    "shell": (ERROR, "the user's login shell there starts commands"),
    "system": (ERROR, "it runs Linux, or WSL2 on Windows"),
    "python": (ERROR, "`python` is there, runs, and is 3.10 or newer"),
    "environment": (
        BOTH,
        "what `[environment]` asks for is there or can be made; a warning where it is not yet",
    ),
    "container": (
        BOTH,
        "docker or podman works for the user, and the image is there or can be had, with a Python 3.10 or newer in it; "
        "the folders of `mounts` are there; a warning where the image is not there yet",
    ),
    "slurm": (
        ERROR,
        'with `connect = "slurm"`: the partitions are there and open, have so many nodes, and let a job have '
        "`[slurm] time`; for several classes Slurm has sched/backfill",
    ),
    "torch": (
        BOTH,
        "torch is there, or in the image, 2.6 or newer; a warning where its version is not that of most hosts",
    ),
    "pillow": (
        ERROR,
        "Pillow is there, or in the image, where the data set is [`image_folder`](data.md#pictures-of-your-own)",
    ),
    "libraries": (
        ERROR,
        'for `task = "causal_lm"`: transformers is there, or in the image, and where `[task]` needs them peft, '
        "bitsandbytes and pyarrow, in versions that are new enough",
    ),
    "devices": (
        BOTH,
        "the GPUs asked for are there and torch is built for them; a warning where it will train on the CPU",
    ),
    "generation": (ERROR, "torch holds code for the generation of each NVIDIA GPU; the right package index is named"),
    "driver": (BOTH, "the NVIDIA driver works and is new enough for torch; a warning where no GPU is asked for"),
    "gpu": (WARNING, "nobody else uses more than a quarter of the memory of a GPU; who does is named"),
    "memory": (BOTH, "1 GiB of memory is available; below 256 MiB it is an error"),
    "disk": (BOTH, "1 GiB is free where `~/.motley` is; below 200 MiB it is an error"),
    "write": (ERROR, "`~/.motley` can be written"),
    "data": (
        BOTH,
        "the folder of `[data] path` is there; an error where the data is not to be had at all",
    ),
    "limits": (BOTH, "enough files may be open; enough threads may be started, below 32 it is an error"),
    "login": (WARNING, "systemd lets processes live on after the logout (KillUserProcesses, lingering)"),
    "power": (
        WARNING,
        'the machine that takes part itself (`connect = "local"`) is not on battery, and closing its lid does not '
        "suspend it",
    ),
    "leftovers": (WARNING, "no run is at work there, and no processes of an earlier one are left"),
    "clock": (WARNING, "its clock and this machine's are less than 2 s apart"),
    "machine": (WARNING, "no machine is listed twice under two addresses"),
    "interface": (ERROR, "the network interface that `env` names (GLOO_SOCKET_IFNAME) is there"),
    "gloo": (WARNING, "`env` does not set TORCH_GLOO_LAZY_INIT, with which a run can hang when a host is lost"),
    "backend": (
        BOTH,
        'not all ranks are GPUs of several hosts: there `[run] backend = "auto"` takes gloo, and "nccl" is quicker, '
        "where a host that is lost may end the run; an error where no library carries the gradients of all devices",
    ),
    "leader": (ERROR, "the leader's address is not one that only the leader itself knows, such as 127.0.0.1"),
    "port": (ERROR, "on the leader, the port of `[cluster]` is free, for a script the next too; who holds it is named"),
    "route": (ERROR, "it has a way to the leader's address"),
    "reach": (BOTH, "every host connects to every other one; a warning where that could not be tried"),
    "max_batch": (ERROR, "the ranks together have room for `run.global_batch`"),
    "script": (
        BOTH,
        "the program that `[run] command` begins with is there; "
        "cluster.toml sets nothing that has no effect on a [script](script.md) of your own, and no `speed`, which "
        "would stop it for part of the time, and so what it sends; one that calls `motley.session()` heeds more keys",
    ),
    "shares": (ERROR, "`balance.shares` has one entry for each device"),
    "push": (
        ERROR,
        "at a start, with `--train`, and where the task is asked for: Motley's code, and that of a task of your own, "
        "can be written there",
    ),
    "task": (
        BOTH,
        "a [task of your own](own-task.md) can be imported there, has its class, and `[task]` fits it; a warning where "
        "that took too long to know",
    ),
    "train": (
        BOTH,
        "with `--train`: two steps of the task or of a script's own loop, or 20 s of any other script, work on each "
        "device; a warning where the samples do not fit into its memory at once",
    ),
}


def page() -> str:
    """docs/check.md as Markdown."""
    rows = [f"| `{name}` | {level} | {text} |" for name, (level, text) in CHECKS.items()]
    return _BEFORE + "\n".join(rows) + "\n" + _AFTER


_BEFORE = """\
# motley check

`motley check` looks at every host, all at once, and starts no run. Every `motley run` begins with it. A finding
names the host, the cause and the remedy: mostly a command to paste, into the terminal in which you typed `motley
check`.

An **error** means that a run can't work; nothing is started, and the command ends with code 3. A **warning** means
that it can, but slower, or that something may surprise you. `motley check --json` prints `{"ok", "findings":
[{"host", "check", "level", "cause", "remedy"}]}`; `check` is a name of this table:

| check | level | in order is |
|---|---|---|
"""

_AFTER = """
This page is made from the definitions in `remote/preflight/check_names.py`.

## How it looks
A host key that nobody knows yet is shown with its fingerprint. On a terminal you are asked whether it is right, and the
answer is No unless you say yes: compare it with what `ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub` says on that
machine. What you accept goes into `~/.motley/known_hosts`, which is read besides the files of ssh. Without a terminal,
and with `--json`, it is a finding. A key that is not the one it was is never asked about: either the machine was set
up anew, or another one answers in its place.

Nothing needs to be on a host but an SSH server and a Python: a small program of the standard library goes there over
SSH, says what it sees, and is gone. It leaves the folder `~/.motley`, in which it tries whether it can write.

Then the hosts meet. Each listens for a moment on the address that it has towards the leader, on a port that its
system picks, as the training does; each connects to every other one, and shows a token that only this check knows.
Connections that fail are grouped around the host that they have in common: "box1, box2 can't reach it" is one finding
for box3.

A host that can't be reached is known after 3 s, everything else is within a second or two on most machines. A host
that is connected and very slow has 9.7 s; one whose AMD or Intel cards only torch knows has 24 s more.

## A task of your own
A file of yours is read by the torch of a host. So the check brings the trainer and the task's folder there, as a
run does, has the file imported, its class found and `[task]` checked against the class's `Options`, and the process
ends. No data is read. This takes as long as importing torch, 2 minutes at most, all hosts at the same time; of demo
hosts one is asked. A host whose environment or image is still to come is not asked.

## Trying it: --train
`motley check --train` goes further, on every host at the same time, each for itself: environments are made and data
is brought as for a run, then each device does two real steps of the task, a batch of its test data is evaluated,
and the process ends. It says what the steps took, the most memory in use (of a GPU, or of the process), and whether
the samples fitted at once. There are as many as the device may get: its share with `policy = "static"`, else
`max_batch`, else an equal part of the global batch.

```
✔ box1 cpu: 2 steps of 96 samples, the first 812 ms, then 35.2 ms; 412 MiB of memory at most
```

Of a language model (`task = "causal_lm"`) each host says beforehand, from the sizes in the model's config.json, what
fits into the memory that is free there; what the steps really took stands beside it.

```
✔ laptop cpu: 2 steps of 8 samples, the first 2,140 ms, then 1,312 ms; 6,411 MiB of memory at most
    7.6 GiB free: LoRA fits at 1 x 1024, not at 1 x 2048; QLoRA would fit at 1 x 2048; expected for 1 x 2048: …
```

`1 x 1024` is one row of 1,024 tokens in a pass: the least that has to fit. `expected` counts the libraries too (640
MiB), and is rather more than less: for small Llamas on a CPU it was 1.0 to 1.2 times what torch took. A model that is
loaded in other ways than transformers does it, or one with code of its own, may take more. Of a mixture of experts
nothing is said beforehand.
[`motley plan`](commands.md#motley-plan) says the same for hosts that were profiled, where the model's config.json is on
this machine.

What fails names file and line of your code: also a mistake in `metrics`, which a run meets at the end of its first
epoch. Nothing is kept of it, and weights that were trained are not touched. After 5 minutes a host is given up.

Of a [script](script.md) that calls [`motley.session()`](own-loop.md) the steps are those of its own loop: its
samples, its model, in the part of its batch that the device would get. It runs in a copy of its project in a folder
of its own, which `MOTLEY_DIR` names and which is gone afterwards, and is ended after the two steps; what it does
between steps (an evaluation) it does then, too, but `run.save` writes nothing. Any other script tells of no steps: it
runs for 20 s as the only rank, then it is ended with all that it has started. That it was still running, or came to
its own end, is as much as this tells.

Ctrl-C ends what has begun on the hosts.

## Firewalls
Training traffic goes straight between the hosts, on ports that the system picks: no list of ports would do, the hosts
must let each other in. What helps is a rule for the firewall that is at work there (ufw, firewalld, what
nftables.conf says, or iptables where none of them is), for the network that the hosts share. Where no firewall of the
host shows, one on the way, or a Wi-Fi network that keeps its guests apart, may be the cause.

## Windows: WSL2
A host may be a Linux in WSL2, with an sshd of its own. By default WSL2 sits behind NAT: its address (172.16.0.0 to
172.31.255.255) is known to its own Windows alone, and the other hosts can't reach it, even where a forwarded port
lets SSH in. `motley check` recognises that. Mirrored networking fixes it (Windows 11 22H2 or newer); in PowerShell on
that Windows:

```
Add-Content $HOME\\.wslconfig "[wsl2]`nnetworkingMode=mirrored"; wsl --shutdown
```

and, as administrator, so that Windows lets connections in:

```
Set-NetFirewallHyperVVMSetting -Name '{40E0AC32-46A5-438A-A0B2-2B479E8F2E90}' -DefaultInboundAction Allow
```

Then start WSL again, give its address as Windows shows it, and check again. WSL 1 has no Linux kernel and is refused:
`wsl --set-version NAME 2` makes it WSL2.

## macOS and other systems
Motley trains on Linux. On another system, a Linux container or virtual machine with an address and an sshd of its own
can take part; macOS is fine for the console.

## What it does not see
- Whether torch can be imported, without a task of your own or `--train`: that takes seconds. The files of torch say
  which version it is.
- The speed of the network between the hosts: `motley profile` measures it.
- Who uses a GPU, where the driver does not tell; rules of a firewall, which only root may read. It tries connections
  instead.
- Whether a Python or a package fits the processor.
"""


if __name__ == "__main__":
    sys.stdout.write(page())
