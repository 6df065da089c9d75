"""How long the leader was silent, as a console may judge that has itself been away."""

from __future__ import annotations

from motley.remote.session.leader_silence import DEAF_S, LeaderSilence


def test_the_leader_is_silent_from_its_last_word_on_while_others_are_heard() -> None:
    silence = LeaderSilence(0.0)
    assert silence.look(1.0, leader=0.9, others=0.8) == 1.0 - 0.9
    assert silence.look(6.0, leader=None, others=5.5) == 6.0 - 0.9


def test_a_console_that_was_cut_off_counts_from_the_first_word_that_it_hears_again() -> None:
    silence = LeaderSilence(0.0)
    silence.look(1.0, leader=1.0, others=1.0)
    for now in (2.0, 1.0 + DEAF_S, 9.0, 9.25):
        silent_s = silence.look(now, leader=1.0, others=1.0)
    assert silent_s == 0.0
    assert silence.look(9.5, leader=1.0, others=9.5) == 0.25
    assert silence.look(12.0, leader=1.0, others=11.0) == 2.75
    assert silence.unheard(12.0) == 11.0  # whoever is to blame


def test_alone_with_the_leader_nobody_else_could_lead() -> None:
    silence = LeaderSilence(0.0)
    assert silence.look(60.0, leader=None, others=None) == 0.0
    assert silence.look(61.0, leader=None, others=61.0) == 1.0


def test_another_leader_is_given_its_own_time() -> None:
    silence = LeaderSilence(0.0)
    silence.look(5.0, leader=None, others=5.0)
    silence.restart(5.0)
    assert silence.look(6.0, leader=None, others=6.0) == 1.0
