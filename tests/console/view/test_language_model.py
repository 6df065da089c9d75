"""What the console shows of a language model: tokens a second in the place of samples, perplexity, and its answers."""

from __future__ import annotations

from dataclasses import replace

import pytest

from motley.console.commands.plain import Printer
from motley.console.state.snapshot import Snapshot
from motley.console.state.store import Store
from motley.console.view.key_bindings import BY_ACTION, footer_line, reason
from motley.console.view.model_answers import answer_lines
from motley.console.view.notice import notice_lines
from motley.console.view.rank_table import table
from motley.console.view.run_lines import run_lines
from motley.console.view.styled_line import text, width_of
from motley.remote.experiment.records import record_of
from motley.remote.feed import Ended
from motley.trainer.contract.wire import encode
from tests.console import language_model, scripted
from tests.console.language_model import TOKENS, evaluated, with_tokens
from tests.console.scripted import START, event


@pytest.fixture(scope="module")
def running() -> Snapshot:
    return language_model.store().snapshot()


def header(snapshot: Snapshot, width: int) -> str:
    return text(run_lines(snapshot, width=width, now=START)[2])


def test_the_header_says_tokens_and_perplexity_and_samples_where_there_is_room(running: Snapshot) -> None:
    tokens = sum(batch * each for batch, each in zip(scripted.SPLITS[-1][1], TOKENS, strict=True))
    assert running.units_per_s is not None
    assert running.samples_per_s is not None
    assert running.units_per_s / running.samples_per_s == pytest.approx(tokens / scripted.BATCH)
    wide, narrow = header(running, 198), header(running, 78)
    rate = f"{running.units_per_s:,.0f} tokens/s"
    assert "   perplexity 12.43   " in narrow
    assert rate in narrow
    assert "samples/s" not in narrow
    assert "held-out 2.520   perplexity 12.43   " in wide
    assert "accuracy" not in wide
    assert rate in wide
    assert f"{running.samples_per_s:,.0f} samples/s" in wide
    assert "accuracy" not in header(replace(running, held_out=None), 198)  # nor before the first evaluation


def test_the_table_has_tokens_and_samples_where_there_is_room(running: Snapshot) -> None:
    narrow = [text(line) for line in table(running, width=78, now=START)]
    assert "tokens/s" in narrow[0]
    assert "samples/s" not in narrow[0]
    wide = [text(line) for line in table(running, width=198, now=START)]
    assert "tokens/s" in wide[0]
    assert "samples/s" in wide[0]
    assert "tokens/s, recent" in wide[0]
    column = narrow[0].index("tokens/s") + len("tokens/s")
    told = [int(line[:column].split()[-1].replace(",", "")) for line in narrow[1:]]
    assert sum(told) == round(running.units_per_s or 0)  # as the header has it
    assert told[0] / told[1] == pytest.approx(128 * TOKENS[0] / (64 * TOKENS[1]), rel=0.01)


@pytest.mark.parametrize("width", [50, 80, 120, 200])
def test_nothing_is_wider_than_the_terminal(running: Snapshot, width: int) -> None:
    odd = replace(running, unit="x" * 60)
    lines = [
        *run_lines(odd, width=width, now=START), *table(odd, width=width, now=START),
        *answer_lines(running.answers, width=width), *notice_lines(replace(odd, phase="ended"), width=width),
    ]  # fmt: skip
    assert max(width_of(line) for line in lines) <= width


def test_the_throughput_of_a_step_that_a_rank_does_not_tell_of_is_no_smaller() -> None:
    store = language_model.store(24)
    before = store.snapshot().throughput[-1][1]
    store.apply(event("lost", "", member=3, host="box2", cause="lost"), START)
    for member in range(3):
        store.apply(replace(with_tokens(25, member), step_batch=scripted.BATCH), START)
    assert store.snapshot().throughput[-1][1] == pytest.approx(before, rel=0.1)


def test_a_host_that_tells_of_no_tokens_leaves_samples() -> None:
    """Such as one of an earlier version: the run is told in what all of them say."""
    store = Store()
    for _, record in scripted.startup("home-1"):
        store.apply(record, START)
    for member in range(4):
        row = with_tokens(1, member)
        store.apply(row if member else replace(row, unit="", units=None), START)
    shown = store.snapshot()
    assert (shown.unit, shown.units_per_s, shown.counted) == ("", None, "samples")
    assert "samples/s" in header(shown, 78)


def test_answers_are_shown_the_newest_first_each_line_as_far_in_as_it_was(running: Snapshot) -> None:
    lines = [text(line).rstrip() for line in answer_lines(running.answers, width=60)]
    assert lines[:9] == [
        "epoch 2, step 48   held-out 2.520  perplexity 12.43",
        "? What is gradient accumulation?",
        "> Adding up gradients, says epoch 2.",
        "  Once.",
        "? def double(x):",
        ">     y = x + x",
        "      return y",
        "? Why?",
        "> (nothing)",
    ]
    assert lines[10].startswith("epoch 1, step 24   held-out 2.760")
    assert text(answer_lines((), width=99)[0]).startswith("No answers yet")


def test_an_evaluation_that_is_done_again_after_a_loss_stands_there_once() -> None:
    store = language_model.store()
    for record in evaluated(2, step=48, loss=2.0):
        store.apply(record, START)
    assert [(one.epoch, one.held_out and one.held_out.loss) for one in store.snapshot().answers] == [
        (2, 2.0), (1, 2.76),
    ]  # fmt: skip


def test_what_was_before_the_first_step_is_called_so_and_stands_beside_what_became_of_it() -> None:
    """From X to Y is what somebody wants to know of a training."""
    store = language_model.store(0)
    first = [replace(record, data={**record.data, "epoch": 0}) for record in evaluated(1, step=0, loss=3.0)]
    for record in first:
        store.apply(record, START)
    (head, *_) = answer_lines(store.snapshot().answers, width=60)
    assert text(head).rstrip() == "before the first step   held-out 3.000  perplexity 20.09"
    ended = Ended(state="stopped", summary={"eval": {"loss": 3.0, "perplexity": 20.09}})
    store.apply(ended, START)
    assert "held-out loss 3.000   perplexity 20.09" in all_notices(store)

    for record in evaluated(1, step=24, loss=2.0):
        store.apply(record, START)
    store.apply(replace(ended, summary={"eval": {"loss": 2.0, "perplexity": 7.389}}), START)
    assert "held-out loss 3.000 → 2.000   perplexity 20.09 → 7.389" in all_notices(store)


def all_notices(store: Store) -> str:
    return " ".join(text(line) for line in notice_lines(store.snapshot(), width=200))


@pytest.mark.parametrize(
    "answers",
    [None, 7, [], ["one"], [{"prompt": 3}], [{"answer": {"a": 1}}], [{"prompt": "x" * 9000, "answer": "\x1b[2J"}] * 99],
)
def test_answers_from_a_host_that_lies_are_bounded_and_safe(answers: object) -> None:
    line = encode(event("answers", "answers", step=1, epoch=1, answers=answers))
    store = language_model.store(0)
    store.apply(record_of("desktop", "events.jsonl", line), START)
    for one in store.snapshot().answers:
        assert len(one.pairs) <= 8
        assert all(len(said) <= 2000 and said.isprintable() for pair in one.pairs for said in pair)
    sample = encode(replace(with_tokens(1, 0), unit="\x1b]0;tokens\x07"))
    safe = record_of("desktop", "rank_0.jsonl", sample)
    assert getattr(safe, "unit", None) == ""


def test_the_key_of_answers_says_why_there_are_none_and_stands_in_the_footer_where_there_are(running: Snapshot) -> None:
    quiet = replace(running, answers=())
    assert reason(BY_ACTION["answers"], running) is None
    assert "none yet" in (reason(BY_ACTION["answers"], quiet) or "")
    assert "a answers" in text(footer_line(running, width=120))
    assert "a answers" not in text(footer_line(quiet, width=200))


def test_the_summary_says_tokens_and_perplexity() -> None:
    table = {**scripted.summary("home-1"), "tokens_per_s": 654321.0, "eval": {"loss": 2.5, "perplexity": 12.18}}
    store = language_model.store()
    store.apply(Ended(state="finished", summary=table), START)
    said = " ".join(text(line) for line in notice_lines(store.snapshot(), width=200))
    for word in ("held-out loss 2.500", "perplexity 12.18", "tokens/s 654,321", "samples/s 2,304"):
        assert word in said
    assert "accuracy" not in said


def test_plain_mode_prints_tokens_perplexity_and_answers() -> None:
    lines: list[str] = []
    clock = iter(range(10**6))
    printer = Printer(write=lines.append, clock=lambda: START + next(clock))
    for record in language_model.records(24):
        printer(record)
    said = [line[10:].partition("  ")[2].strip() if "  " in line[10:] else line for line in lines]
    assert any(line.endswith(" tokens/s") or " tokens/s  " in line for line in lines)
    assert any("epoch 1: loss 2.7600, perplexity 15.8" in line for line in said)
    at = next(n for n, line in enumerate(said) if "the model has answered 3 prompts" in line)
    assert said[at + 1 : at + 4] == [
        "? What is gradient accumulation?", "> Adding up gradients, says epoch 1.", "Once.",
    ]  # fmt: skip
