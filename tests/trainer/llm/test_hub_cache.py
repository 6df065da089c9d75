"""How a download from the hub gets on, by what lies in the cache: whoever fetches it."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from motley.trainer.llm.hub_cache import cache, fetched_bytes, fetching

NAME = "org/name"


@pytest.fixture(name="blobs")
def _blobs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    monkeypatch.delenv("HF_HUB_CACHE", raising=False)
    folder = tmp_path / "hub/models--org--name/blobs"
    folder.mkdir(parents=True)
    return folder


def test_it_is_where_the_hub_s_library_has_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HF_HOME", "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache() == tmp_path / ".cache/huggingface/hub"
    monkeypatch.setenv("XDG_CACHE_HOME", "/xdg")
    assert cache() == Path("/xdg/huggingface/hub")
    monkeypatch.setenv("HF_HOME", "/models")
    assert cache() == Path("/models/hub")
    monkeypatch.setenv("HUGGINGFACE_HUB_CACHE", "/older")
    assert cache() == Path("/older")
    monkeypatch.setenv("HF_HUB_CACHE", "~/mine")
    assert cache() == tmp_path / "mine"


def test_what_comes_is_told_and_nothing_where_nothing_does(blobs: Path) -> None:
    (blobs / "old").write_bytes(bytes(3 << 20))
    said: list[str] = []
    told = threading.Event()

    def note(text: str, _fraction: float | None) -> None:
        said.append(text)
        told.set()

    with fetching(note, NAME, every_s=0.01):
        assert fetched_bytes(NAME) == 3 << 20
        (blobs.parent / "new").write_bytes(bytes(5 << 20))
        (blobs.parent / "new").rename(blobs / "8f5a.incomplete")  # all at once, whenever it is looked at
        assert told.wait(20)
    assert said == ["fetching org/name from the hub, 5 MiB so far"]
    with fetching(note, NAME, every_s=0.0001):
        pass
    assert len(said) == 1
    assert fetched_bytes("org/other") == 0
