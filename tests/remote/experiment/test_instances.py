"""A host that is several machines, one after the other: what each has told is kept, nothing twice and nothing lost."""

from __future__ import annotations

from pathlib import Path

from motley.remote.experiment.folder import Experiment
from motley.remote.experiment.machines import met
from motley.trainer.contract.wire import Chunk, Event, encode


def chunk(*texts: str, start: int = 0) -> Chunk:
    lines = [encode(Event(time=1.0, host="small", source="rank 1", kind="note", text=text)).decode() for text in texts]
    text = "".join(lines)
    return Chunk(file="events.jsonl", start=start, end=start + len(text), text=text)


def told(experiment: Experiment) -> list[str]:
    return [record.text for record in experiment.replay() if isinstance(record, Event)]


def test_another_machine_begins_with_files_of_its_own(tmp_path: Path) -> None:
    experiment = Experiment.create(tmp_path / "night", "")
    met(experiment, "small", "first")
    first = chunk("one", "two")
    experiment.take("small", first)

    met(experiment, "small", "second")

    assert experiment.offsets("small") == {}
    assert [record.text for record in experiment.take("small", chunk("three")) if isinstance(record, Event)] == [
        "three"
    ]
    experiment.commit()
    assert told(experiment) == ["one", "two", "three"]
    experiment.close()
    again = Experiment.open(tmp_path / "night")
    met(again, "small", "second")
    assert again.offsets("small") == {"events.jsonl": chunk("three").end}
    again.close()


def test_the_same_machine_goes_on_where_it_was(tmp_path: Path) -> None:
    experiment = Experiment.create(tmp_path / "night", "")
    met(experiment, "small", "first")
    experiment.take("small", chunk("one"))
    experiment.close()

    again = Experiment.open(tmp_path / "night")
    met(again, "small", "first")

    assert again.offsets("small") == {"events.jsonl": chunk("one").end}
    met(again, "small", "second")
    assert again.offsets("small") == {}
    assert told(again) == ["one"]
    again.close()


def test_hosts_that_stay_the_same_are_not_written_down(tmp_path: Path) -> None:
    experiment = Experiment.create(tmp_path / "night", "")
    met(experiment, "box1", "")

    assert not (tmp_path / "night/instances.json").exists()
    experiment.close()
