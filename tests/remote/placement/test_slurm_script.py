"""The script of a job: a component for each class, a keeper for each node, and nothing that a shell would read anew."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from motley.remote.config.cluster import Cluster
from motley.remote.config.load import load
from motley.remote.placement.slurm_script import script

ROOT = Path(__file__).resolve().parents[3]
TWO = """\
[cluster]
connect = "slurm"
[[hosts]]
name = "fast"
nodes = 2
partition = "gpu"
sbatch = ["--gres=gpu:1"]
[[hosts]]
name = "slow"
python = "~/envs/old/bin/python"
[slurm]
time = "2:30:00"
account = "lab"
sbatch = ["--exclusive"]
"""


def read(folder: Path, text: str) -> Cluster:
    path = folder / "cluster.toml"
    path.write_text(text)
    return load(path)


def test_several_classes_are_a_heterogeneous_job(tmp_path: Path) -> None:
    lines = script(read(tmp_path, TWO), "night").splitlines()

    options = [line for line in lines if line.startswith("#SBATCH")]
    middle = options.index("#SBATCH hetjob")
    first, second = options[:middle], options[middle + 1 :]
    common = {"--job-name=motley-night", "--no-kill", "--time=2:30:00", "--account=lab", "--exclusive"}
    assert {f"#SBATCH {option}" for option in common} <= set(first) & set(second)
    assert {"#SBATCH --nodes=2", "#SBATCH --partition=gpu", "#SBATCH --gres=gpu:1"} <= set(first)
    assert "#SBATCH --nodes=1" in second
    assert not [option for option in second if "partition" in option or "gres" in option]
    assert [line for line in lines if line.startswith("keep ")] == [
        "keep python3 fast-1,fast-2 --het-group=0 --ntasks=2",
        'keep "$HOME"/envs/old/bin/python slow --het-group=1 --ntasks=1',
    ]
    assert "#SBATCH --signal=B:USR1@120" in first
    assert not [option for option in second if "signal" in option]
    note = 'Comment="motley:fast-[1-2];slow:$SLURM_JOB_NODELIST_HET_GROUP_0;$SLURM_JOB_NODELIST_HET_GROUP_1"'
    assert note in "\n".join(lines)


def test_one_class_is_an_ordinary_job(tmp_path: Path) -> None:
    text = script(read(tmp_path, '[cluster]\nconnect = "slurm"\n[[hosts]]\nname = "node"\nnodes = 3\n'), "night")

    assert "hetjob" not in text
    assert "--het-group" not in text
    assert "\nkeep python3 node-1,node-2,node-3 --ntasks=3\n" in text
    assert "#SBATCH --no-requeue" in text
    assert "scontrol requeue" not in text
    assert 'Comment="motley:node-[1-3]:$SLURM_JOB_NODELIST"' in text


def test_it_starts_a_keeper_with_its_whole_text(tmp_path: Path) -> None:
    """Run as Slurm would, by sh, with an `srun` that says what it was given."""
    srun = tmp_path / "bin" / "srun"
    srun.parent.mkdir()
    srun.write_text('#!/bin/sh\nfor word; do printf "%s\\036" "$word"; done\n')
    srun.chmod(0o755)
    job = tmp_path / "job.sh"
    job.write_text(script(read(tmp_path, '[cluster]\nconnect = "slurm"\n[[hosts]]\nname = "node"\n'), "night"))

    environment = {"PATH": f"{srun.parent}:/usr/bin:/bin", "SLURM_JOB_ID": "4711"}
    done = subprocess.run(["sh", str(job)], env=environment, capture_output=True, text=True, timeout=30, check=True)

    words = done.stdout.split("\x1e")
    text = words[words.index("-c") + 1]
    compile(text, "keeper", "exec")
    assert text == (ROOT / "trainer/keeper/keep_node.py").read_text().strip()
    assert words[words.index("-c") + 2 :] == ["motley-4711", "600", "30", ""]
    assert "--no-kill" in words


def test_one_that_is_started_again_says_to_the_keepers_what_they_take_up(tmp_path: Path) -> None:
    """Run as Slurm would for the second time, on other nodes than at first."""
    bin_ = tmp_path / "bin"
    bin_.mkdir()
    (bin_ / "srun").write_text('#!/bin/sh\nfor word; do printf "%s\\036" "$word"; done\n')
    answers = {
        "show hostnames *": "printf '%s\\n' node7 node9",
        "-o show node node9": "echo NodeName=node9 NodeAddr=10.0.0.9 CPUs=2",
    }
    cases = "".join(f"{words.replace(' ', chr(92) + ' ')}) {answer};;\n" for words, answer in answers.items())
    (bin_ / "scontrol").write_text(f'#!/bin/sh\ncase "$*" in\n{cases}esac\n')
    for program in bin_.iterdir():
        program.chmod(0o755)
    text = script(
        read(
            tmp_path,
            '[cluster]\nconnect = "slurm"\nleader = "node-2"\n'
            '[[hosts]]\nname = "node"\nnodes = 2\n[slurm]\nrequeue = true\n',
        ),
        "night",
    )
    job = tmp_path / "job.sh"
    job.write_text(text)

    given = {"SLURM_JOB_ID": "4711", "SLURM_JOB_NODELIST": "node[7,9]", "SLURM_RESTART_COUNT": "1"}
    environment = {"PATH": f"{bin_}:/usr/bin:/bin", **given}
    done = subprocess.run(["sh", str(job)], env=environment, capture_output=True, text=True, timeout=30, check=True)

    words = done.stdout.split("\x1e")
    assert words[words.index("-c") + 2 : -1] == [
        "motley-4711", "600", "30", "night", "node-1,node-2", "node-2", "10.0.0.9", "1",
    ]  # fmt: skip
    assert "#SBATCH --requeue" in text


def test_a_cluster_of_another_kind_has_none(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no cluster of Slurm's"):
        script(read(tmp_path, '[[hosts]]\nname = "box1"\n'), "night")
