"""Which checkpoint a run in another job should have begun from: what a console compares."""

from __future__ import annotations

from motley.remote.session.placed.hand_over import NEVER, began_from, newest_before
from motley.trainer.contract.checkpoint_trailer import Trailer


def test_what_this_start_of_the_job_has_written_does_not_count() -> None:
    found = [Trailer(18, ""), Trailer(300, "", 1000), Trailer(31, "", 2000)]

    assert newest_before(found, 2) == (1000, 300)
    assert newest_before(found, 1) == (0, 18)
    assert newest_before([], 1) == NEVER < (0, 0)


def test_the_leader_s_note_counts_for_its_own_start_of_the_job_only() -> None:
    assert began_from(b'{"restarts": 2, "age": [1000, 30]}', 2) == (1000, 30)
    assert began_from(b'{"restarts": 1, "age": [0, 18]}', 2) is None
    for odd in (None, b"", b"[]", b'{"restarts": 2}', b'{"restarts": 2, "age": []}', b'{"restarts": 2, "age": 7}'):
        assert began_from(odd, 2) is None
