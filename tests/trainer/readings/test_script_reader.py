"""What is believed of a script's output: whose steps, which loss, and that a step rises."""

from __future__ import annotations

from collections.abc import Iterable

from hypothesis import given
from hypothesis import strategies as st

from motley.trainer.readings.script_reader import SOON_S, Figures, ScriptReader


def bar(at: int, total: int = 60, *, name: str = "", more: str = "") -> str:
    rate = "?it/s" if at == 0 else "3.27it/s"
    head = f"{name}: " if name else ""
    return (
        f"\r{head}{100 * at // total:3d}%|##        | {at}/{total} [00:06<{'?' if at == 0 else '00:12'}, {rate}{more}]"
    )


def read(*texts: str) -> list[Figures]:
    """A text each second."""
    reader = ScriptReader()
    return list(taken(reader, texts))


def taken(reader: ScriptReader, texts: Iterable[str], *, began: float = 0.0) -> Iterable[Figures]:
    for second, text in enumerate(texts):
        reader.feed(text.encode(), now=began + second)
        figures = reader.take(now=began + second)
        if figures is not None:
            yield figures


def steps(figures: Iterable[Figures]) -> list[tuple[int, float | None]]:
    return [(found.step, found.loss) for found in figures]


def test_lines_with_step_and_loss() -> None:
    figures = read("step 10: loss 2.5\n", "step 20/100: loss 2.4\n", "step 30/100: loss 2.3\n")
    assert steps(figures) == [(10, 2.5), (20, 2.4), (30, 2.3)]
    assert (figures[-1].total, figures[-1].steps_per_s, figures[-1].time) == (100, 10.0, 2.0)


def test_a_bar_without_a_loss_tells_its_steps() -> None:
    figures = read(bar(0), bar(3), bar(7), "\n")
    assert steps(figures) == [(0, None), (3, None), (7, None)]
    assert (figures[-1].total, figures[-1].steps_per_s) == (60, 3.5)


def test_a_loss_without_a_step_is_that_of_the_bar_as_it_is_drawn_next() -> None:
    """transformers: the bar may lag behind when the line is written above it, and is drawn again right after it."""
    figures = read(bar(8), "\r      \r{'loss': '4.1', 'epoch': '0.2'}\n", bar(10), bar(11), bar(12))
    assert steps(figures) == [(8, None), (10, 4.1), (11, 4.1), (12, 4.1)]
    assert figures[1].epoch == 0.2


def test_a_loss_is_shown_too_where_the_bar_is_drawn_again_as_it_was_or_not_at_all() -> None:
    assert steps(read(bar(10), "\r     \r{'loss': '4.1'}\n" + bar(10))) == [(10, None), (10, 4.1)]
    assert SOON_S <= 1.0
    assert steps(read(bar(10) + "\n", "{'loss': '4.1'}\n", "saving\n")) == [(10, None), (10, 4.1)]


def test_an_evaluation_in_between_moves_nothing() -> None:
    """transformers' bar of an evaluation bears no name either."""
    evaluation = [bar(at, 8, more="") + "\x1b[A" for at in range(9)]
    figures = read(
        bar(24),
        "{'loss': '4.1'}\n" + bar(25),
        *evaluation,
        "\n{'eval_loss': '4.2', 'epoch': '0.3'}\n",
        bar(26),
        bar(27),
    )
    assert steps(figures) == [(24, None), (25, 4.1), (26, 4.1), (27, 4.1)]


def test_epochs_are_rounds_of_a_bar_and_steps_go_on() -> None:
    texts = [
        bar(at, 40, name=f"Epoch {epoch}", more=f", train_loss={3 - epoch}.5, val_loss=9") for epoch in (0, 1, 2)
        for at in (0, 20, 40)
    ]  # fmt: skip
    texts[3:3] = [bar(at, 10, name="Validation DataLoader 0") + "\x1b[A" for at in (0, 5, 10)]
    figures = read(*texts)
    assert [found.step for found in figures] == [0, 20, 40, 40, 60, 80, 80, 100, 120]
    assert [found.loss for found in figures][::3] == [3.5, 2.5, 1.5]
    assert (figures[-1].total, figures[-1].epoch) == (None, 2.0)


def test_the_bar_of_batches_tells_the_steps_not_that_of_epochs() -> None:
    texts = [bar(0, 3, name="Epochs")]
    texts += [bar(at, 50) for at in range(0, 51, 5)]
    texts += [bar(1, 3, name="Epochs")]
    texts += [bar(at, 50) for at in range(0, 51, 5)]
    assert [found.step for found in read(*texts)][-1] == 100


def test_a_bar_that_prepares_the_data_gives_way_to_that_of_the_training() -> None:
    figures = read(*(bar(at, 500) for at in (0, 250, 500)), *(bar(at, 60) for at in (0, 1, 2)))
    assert [(found.step, found.total) for found in figures][-1] == (2, 60)


def test_a_bar_that_counts_down_has_no_steps() -> None:
    assert steps(read(*(bar(at) for at in (50, 49, 48, 47)))) == [(50, None)]


def test_where_lines_tell_steps_bars_do_not() -> None:
    figures = read("step 100: loss 2.5\n", bar(7), bar(8, more=", loss=9"), "step 110: loss 2.4\n")
    assert steps(figures) == [(100, 2.5), (110, 2.4)]


def test_a_figure_whose_step_falls_is_not_believed() -> None:
    assert steps(read("step 100: loss 2.5\n", "step 90: loss 1\n", "step 101: loss 2.4\n")) == [(100, 2.5), (101, 2.4)]


def test_a_loss_that_is_no_number_is_said_once_and_the_one_before_is_not_shown_as_if_it_held() -> None:
    reader = ScriptReader()
    figures = list(
        taken(reader, ["step 1: loss 2\n", "step 2: loss nan\n", "step 3: loss nan\n", "step 4: loss 1e999\n"])
    )
    assert steps(figures) == [(1, 2.0), (2, None), (3, None), (4, None)]
    assert reader.doubts == ["the loss is nan", "the loss is 1e999"]


def test_a_total_that_is_passed_is_none() -> None:
    (_, last) = read("step 9/10: loss 1\n", "step 11/10: loss 1\n")
    assert last.total is None


def test_the_rate_is_that_of_the_last_seconds_or_of_the_last_two_figures() -> None:
    reader = ScriptReader()
    for now, step in ((0, 0), (30, 30), (60, 120)):
        reader.feed(f"step {step} loss 1\n".encode(), now=now)
        figures = reader.take(now=now)
    assert figures is not None
    assert figures.steps_per_s == 3.0


LINES = st.sampled_from(
    ["step 1 loss 2", "step 9 loss 1", "loss 3", "loss nan", "{'loss': '1'}", "hello", "\x1b[A", "%|", bar(3), bar(5),
     bar(0), bar(60), bar(2, 8), bar(3, 40, name="Epoch 1", more=", loss=2"), bar(1, 40, name="Epoch 2")]
)  # fmt: skip


@given(st.lists(st.one_of(LINES, st.text(max_size=30)), max_size=30), st.integers(1, 50))
def test_whatever_is_printed_however_it_is_cut_the_figures_are_sound(lines: list[str], size: int) -> None:
    data = "\n".join(lines).encode(errors="replace")
    reader = ScriptReader()
    for now, i in enumerate(range(0, len(data), size)):
        reader.feed(data[i : i + size], now=now)
        figures = reader.take(now=now)
        if figures is not None:
            assert figures.step >= 0
            assert figures.total is None or figures.total >= figures.step
            assert figures.loss is None or abs(figures.loss) < 1e39
            assert figures.steps_per_s is None or figures.steps_per_s > 0


def test_a_script_that_tells_epochs_alone_is_counted_in_these() -> None:
    reader = ScriptReader()
    for n in range(1, 8):
        reader.feed(f"epoch {n} of 30 on 2 ranks: loss {1 / n:.4f}\n".encode(), now=n * 0.3)
        told = reader.take(now=n * 0.3)
    assert told is not None
    assert (told.unit, told.step, told.total, told.epoch, told.loss) == ("epoch", 7, 30, None, 0.1429)
    assert told.steps_per_s is not None


def test_epochs_count_no_more_once_a_step_is_told() -> None:
    reader = ScriptReader()
    reader.feed(b"Epoch 9/10, loss 0.5\n", now=1.0)
    told = reader.take(now=3.0)
    assert told is not None
    assert (told.unit, told.step, told.total) == ("epoch", 9, 10)
    reader.feed(b"step 4/100: loss 0.4\n", now=4.0)
    told = reader.take(now=4.0)
    assert told is not None
    assert (told.unit, told.step, told.total, told.loss) == ("step", 4, 100, 0.4)
    reader.feed(b"Epoch 10/10, loss 0.3\n", now=5.0)
    assert reader.take(now=9.0) is None
