"""What a job notes of itself: read back as it was written, and taken for nothing where it is somebody else's text."""

from __future__ import annotations

import pytest

from motley.remote.placement.slurm_note import MOST, Noted, hosts_of, note, noted


@pytest.mark.parametrize(
    "hosts",
    [
        ["fast"],
        ["fast-1", "fast-2", "fast-3"],
        ["fast-2"],
        ["fast-1", "fast-3", "fast-4", "fast-9"],
        [f"fast-{number}" for number in range(1, 1001)],
    ],
)
def test_hosts_are_read_back_as_they_were_noted(hosts: list[str]) -> None:
    text = note([("fast", hosts), ("slow-1", ["slow-1"])], ["n[1-2]", "s1"])

    found = noted(text)

    assert found.nodes == ("n[1-2]", "s1")
    assert hosts_of(found.hosts, [*hosts, "fast-1001", "slow-1", "slow-2"]) == [hosts, ["slow-1"]]


def test_hosts_for_which_a_comment_has_no_room_are_left_out() -> None:
    odd = [f"fast-{number}" for number in range(1, 2 * MOST, 2)]

    assert noted(note([("fast", odd)], ["n[1-2]"])) == Noted((), ("n[1-2]",))


@pytest.mark.parametrize(
    ("comment", "hosts", "nodes"),
    [
        ("fast[1-2];slow1", (), ("fast[1-2]", "slow1")),  # of a job from before hosts were noted
        ("motley:fast-[1-2];slow:", ("fast-[1-2]", "slow"), ()),  # before the script has noted its nodes
        ("", (), ()),
        ("my own: words", (), ()),
        ("motley:$(reboot);slow:n1;`x`", (), ()),
        ("motley:fast\x1b[31m:n1", (), ("n1",)),
        ("motley:fast-[2-:n1", (), ("n1",)),
    ],
)
def test_what_is_no_note_is_none(comment: str, hosts: tuple[str, ...], nodes: tuple[str, ...]) -> None:
    assert noted(comment) == Noted(hosts, nodes)


@pytest.mark.parametrize("hosts", [["big"], ["fast-[1-3]"], ["fast-[0-99999999999]"], ["fast-[2-1]"], ["slow", "slow"]])
def test_hosts_that_are_not_known_are_refused(hosts: list[str]) -> None:
    with pytest.raises(ValueError, match=r"the hosts "):
        hosts_of(hosts, ["fast-1", "fast-2", "slow"])
