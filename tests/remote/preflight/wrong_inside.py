"""What is wrong with a host that answers, its GPUs, its room and its place in the cluster: see `misconfigured`."""

from __future__ import annotations

import sys

from tests.remote.preflight.misconfigured import Box, case
from tests.support.ports import free_pair

GPU = "0, GPU-1, NVIDIA GeForce RTX 3070, 8192, {free}, {driver}"
APPS = "GPU-1, {pid}, /usr/bin/blender, 6100"


@case("devices", "there is no cuda:63, it has ", command="nvidia-smi -L")
def _gpu_is_not_there(box: Box) -> None:
    box.keys["devices"] = ["cuda:63"]


@case("gloo", "env sets TORCH_GLOO_LAZY_INIT", remedy="Take TORCH_GLOO_LAZY_INIT out of env", level="warning")
def _gloo_connects_late(box: Box) -> None:
    box.keys["env"] = {"TORCH_GLOO_LAZY_INIT": "1"}


@case(
    "devices",
    "has no CUDA: it will train on the CPU",
    remedy="https://pytorch.org/get-started/locally",
    level="warning",
    besides=("torch",),
    stand_in="an nvidia-smi that tells of a GPU; the files that name torch's version",
)
def _torch_has_no_CUDA(box: Box) -> None:  # noqa: N802
    box.python(box.nvidia_smi(GPU.format(free=8000, driver="580.95.05")), box.torch("2.9.0+cpu"))


@case(
    "driver",
    "torch 2.9.0+cu130 is built for CUDA 13.0; the NVIDIA driver 535.183.01 is too old",
    command="sudo ubuntu-drivers install",
    besides=("torch",),
    stand_in="an nvidia-smi that tells of a GPU; the files that name torch's version",
)
def _driver_is_too_old(box: Box) -> None:
    box.python(box.nvidia_smi(GPU.format(free=8000, driver="535.183.01")), box.torch("2.9.0+cu130", "13.0"))


@case(
    "driver",
    "Failed to initialize NVML: Driver/library version mismatch",
    command="sudo reboot",
    level="warning",
    stand_in="an nvidia-smi that fails as after an update",
)
def _driver_was_updated_without_a_reboot(box: Box) -> None:
    box.python(box.nvidia_smi("Failed to initialize NVML: Driver/library version mismatch", code=18))


@case(
    "gpu",
    "cuda:0 (NVIDIA GeForce RTX 3070) is in use: 6192 of 8192 MiB are taken by blender (pid ",
    command="nvidia-smi",
    level="warning",
    besides=("torch",),
    stand_in="an nvidia-smi that tells of a GPU; the files that name torch's version",
)
def _somebody_uses_the_gpu(box: Box) -> None:
    pid = box.start("sleep", "60").pid
    gpu = GPU.format(free=2000, driver="580.95.05")
    box.python(box.nvidia_smi(gpu, APPS.format(pid=pid)), box.torch("2.9.0+cu130", "13.0"))


@case(
    "generation",
    "cuda:0 (NVIDIA GeForce RTX 5090) is of compute capability 12.0, and torch 2.6.0+cu124, built for CUDA 12.4",
    command="-m pip install --force-reinstall torch --index-url https://download.pytorch.org/whl/cu128",
    besides=("torch",),
    stand_in="an nvidia-smi that tells of a GPU; the files that name torch's version",
)
def _card_is_newer_than_torch(box: Box) -> None:
    gpu = "0, GPU-1, NVIDIA GeForce RTX 5090, 32607, 32000, 580.95.05"
    box.python(box.nvidia_smi(gpu, generations="GPU-1, 12.0"), box.torch("2.6.0+cu124", "12.4"))


@case("write", "~/.motley can't be written: File exists", command="mv ~/.motley ~/motley.old")
def _a_file_has_the_name_of_our_folder(box: Box) -> None:
    (box.serve().home / ".motley").write_text("")


@case("limits", "a process may have 100 files and connections open", command=" - nofile 65536", level="warning")
def _few_files_may_be_open(box: Box) -> None:
    box.python("ulimit -n 100")


@case("data", "No such file or directory, and [data] download is off", command="ls -ld /srv/no-pictures")
def _data_is_not_there(box: Box) -> None:
    box.alone = True
    box.cluster += ["[run]", 'task = "simple_cnn/cifar10"', "[data]", 'path = "/srv/no-pictures"', "download = false"]


@case("data", ": it will be downloaded there", command="ls -ld /srv/no-pictures", level="warning")
def _data_will_be_downloaded(box: Box) -> None:
    box.alone = True
    box.cluster += ["[run]", 'task = "simple_cnn/cifar10"', "[data]", 'path = "/srv/no-pictures"']


@case("data", "/srv/no-pictures: No such file or directory", command="ls -ld /srv/no-pictures", besides=("pillow",))
def _pictures_of_one_s_own_are_not_there(box: Box) -> None:
    box.alone = True
    box.cluster += ["[run]", 'task = "simple_cnn/image_folder"', "[data]", 'path = "/srv/no-pictures"']


@case(
    "pillow",
    "has no Pillow, which decodes the pictures of image_folder",
    command="-m pip install Pillow",
    stand_in="a folder PIL that is not Pillow's",
)
def _pillow_is_missing(box: Box) -> None:
    box.alone = True
    box.python(box.module("PIL/__init__.py", ""))
    box.cluster += ["[run]", 'task = "simple_cnn/image_folder"', "[data]", f'path = "{box.folder}"']


@case("port", "is in use there by ", command="sudo ss -ltnp ")
def _a_program_has_the_port(box: Box) -> None:
    box.leads = True
    box.listen()


@case("port", "is in use there by the run 'night'", command="motley stop night ", besides=("leftovers",))
def _what_a_run_left_has_the_port(box: Box) -> None:
    box.leads = True
    box.listen(**box.tags("night", "box"))


@case("leftovers", "run 'night' left 1 process there that nobody", command="motley stop night ", level="warning")
def _a_run_left_processes(box: Box) -> None:
    box.start("sleep", "60", **box.tags("night", "box"))


@case("leftovers", "run 'night' left 1 process there that nobody", command="'kill ", level="warning")
def _a_run_of_another_file_left_processes(box: Box) -> None:
    box.start("sleep", "60", **box.tags("night", "tower"))


@case(
    "clock",
    "s behind this machine's",
    command="sudo timedatectl set-ntp true",
    level="warning",
    stand_in="time.time that is 90 s behind",
)
def _clock_is_wrong(box: Box) -> None:
    patch = "import time\nreal = time.time\ntime.time = lambda: real() - 90\n"
    box.python(box.module("sitecustomize.py", patch))


@case("interface", "it has no such interface", remedy="Take it out of env in cluster.toml")
def _interface_is_misspelt(box: Box) -> None:
    box.keys["env"] = {"GLOO_SOCKET_IFNAME": "enp99s0"}


@case("machine", "it is the same machine as box", command="motley run --only good --only box", level="warning")
def _one_machine_is_listed_twice(box: Box) -> None:
    sshd = box.serve()
    box.cluster += ["[[hosts]]", 'name = "twin"', 'address = "127.0.0.1"', f"port = {sshd.port}"]
    box.cluster += [f'user = "{sshd.user}"', f'identity = "{sshd.user_key}"', f'python = "{sys.executable}"']


@case("max_batch", "max_batch of all ranks together is 16", remedy="Raise max_batch or lower run.global_batch")
def _batch_fits_nowhere(box: Box) -> None:
    box.cluster += ["[defaults]", "max_batch = 8", "[run]", "global_batch = 256"]


@case("shares", "balance.shares has 3 entries, the hosts have 2 devices", remedy="one share for each device")
def _shares_are_too_many(box: Box) -> None:
    box.cluster += ["[run]", "global_batch = 6", "[balance]", 'policy = "static"', "shares = [1, 2, 3]"]


@case("script", "run.seed has no effect on a script", remedy="goes into run.args", level="warning")
def _the_script_does_not_hear_of_it(box: Box) -> None:
    (box.folder / "train.py").write_text("")
    box.cluster += ["[run]", 'script = "train.py"', "seed = 1"]


@case("port", "which a script needs beside ", command="sudo ss -ltnp ")
def _the_port_after_it_is_taken_for_a_script(box: Box) -> None:
    (box.folder / "train.py").write_text("")
    box.leads = True
    box.port = free_pair() + 1
    box.listen()
    box.port -= 1
    box.cluster += ["[run]", 'script = "train.py"']


@case("environment", "its environment is not made yet", command="motley run", level="warning")
def _its_environment_is_not_made_yet(box: Box) -> None:
    (box.folder / "requirements.txt").write_text("einops\n")
    box.keys["requirements"] = str(box.folder / "requirements.txt")


@case("task", "night.py:3: ModuleNotFoundError: No module named", remedy="Mend it, and start again.")
def _a_task_of_one_s_own_needs_what_is_not_there(box: Box) -> None:
    """On the box alone: the other host finds it."""
    box.keys["env"] = {"LACKS": "einops_of_mine"}
    box.cluster += ["[run]", 'task = "tasks/night.py"']
    (box.folder / "tasks").mkdir()
    lines = ["import motley", "import importlib, os", 'importlib.import_module(os.environ.get("LACKS", "motley"))']
    lines += ["class Night(motley.Task):", "    pass"]
    (box.folder / "tasks/night.py").write_text("\n".join(lines))


@case("task", "[task] width: Night.Options has no such parameter", remedy="Did you mean depth?")
def _a_parameter_that_the_task_does_not_know(box: Box) -> None:
    box.alone = True
    box.cluster += ["[run]", 'task = "tasks/night.py"', "[task]", "width = 3"]
    (box.folder / "tasks").mkdir()
    lines = ["import dataclasses, motley", "@dataclasses.dataclass", "class Options:", "    depth: int = 3"]
    lines += ["class Night(motley.Task):", "    Options = Options"]
    (box.folder / "tasks/night.py").write_text("\n".join(lines))
