"""`task = "causal_lm"`: a language model of transformers', trained whole or by an adapter, on rows of tokens.

    [run]
    task = "causal_lm"

    [task]
    model = "HuggingFaceTB/SmolLM2-135M-Instruct"
    train = "train.jsonl"

A sample is a row of tokens. `forward` gives the summed loss of each row and `count` how many labels that is of: so the
loop's gradients are those of the mean over all labels of a step, however its rows are split.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from motley.trainer.devices.attention import without_plans
from motley.trainer.errors import TaskError
from motley.trainer.llm import exported, libraries
from motley.trainer.llm import options as keys
from motley.trainer.llm.adapter import with_adapter
from motley.trainer.llm.base_model import (
    Place,
    base_model,
    check_vocabulary,
    config_of,
    dtype_of,
    place_of,
    tokenizer_of,
)
from motley.trainer.llm.cards.card_of_layer import cards_of_layers, decoder_layers, told
from motley.trainer.llm.cards.four_bits_on_cards import on_cards
from motley.trainer.llm.cards.layer_on_card import bring_to_layers, put
from motley.trainer.llm.generation import asked, greedy_answers, of_row
from motley.trainer.llm.hub_cache import fetching
from motley.trainer.llm.output_head import head_of, is_its_own
from motley.trainer.llm.packed_rows import check_apart
from motley.trainer.llm.perplexity import perplexity
from motley.trainer.llm.quantised import check_four_bits, four_bits, short_optimizer
from motley.trainer.llm.row_cost import row_cost, shape_of, tokens_per_pair
from motley.trainer.llm.rows.batch import collate
from motley.trainer.llm.rows.dataset import Rows, load_rows
from motley.trainer.llm.token_loss import counted, shifted, token_loss
from motley.trainer.tasks.included_task import IncludedTask, at_work

HELD_OUT_PROMPTS = 3  # rows whose questions are answered where cluster.toml names no prompts


class CausalLM(IncludedTask):
    """What is read is read once, when it is first asked for."""

    Options = keys.Options
    options: keys.Options
    _cards: tuple[int, ...] | None = None  # of each layer, where `model` has laid them out already
    _in_parts = False  # logits can be computed of some tokens at a time; `model` finds out

    def begin(self) -> None:
        options, dtype = self.options, dtype_of(self.options, self.devices)
        without_plans()
        with at_work(self.note, "importing transformers"):
            libraries.transformers()
            if options.method != "full":
                libraries.peft()
        if options.method == "full" and dtype == torch.float16:
            cause = 'dtype = "float16" with method = "full": small steps would be rounded away'
            raise TaskError(f"[task] {cause}", 'Leave dtype out, and set [run] precision = "fp16"')
        if options.method == "qlora":
            for device in self.devices:
                check_four_bits(device, dtype)
            if self.run.ema is not None:
                raise TaskError("run.ema: weights of 4 bits can't be averaged", "Leave it out")
        if options.optimizer != "adamw":
            short_optimizer(options.optimizer, [nn.Parameter(torch.zeros(1))], self.device, rate=1.0, decay=0.0)

    @functools.cached_property
    def place(self) -> Place:
        """Where the model is."""
        return place_of(self.options, self.data_path)

    @functools.cached_property
    def config(self) -> Any:
        return config_of(self.place, self.options)

    @functools.cached_property
    def tokenizer(self) -> Any:
        return tokenizer_of(self.place, self.options)

    @functools.cached_property
    def rows(self) -> Rows:
        assert self.config is not None  # a model that can't be trained is told before its rows are read
        with at_work(self.note, "reading rows"):
            rows = load_rows(self.options, self.data_path, self.tokenizer, self.note)
        self.note(rows.told, None)
        return rows

    def train_data(self) -> Any:
        return self.rows.train

    def test_data(self) -> Any:
        return self.rows.test

    def collate(self, samples: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
        return collate(samples, self.tokenizer.pad_token_id)

    def model(self) -> nn.Module:
        """With an adapter, whose parameters alone learn, or whole. QLoRA's is on this rank's cards already."""
        options, dtype = self.options, dtype_of(self.options, self.devices)
        coming = contextlib.nullcontext() if self.place.local else fetching(self.note, self.place.name)
        with at_work(self.note, f"reading {self.place.name}"), coming:
            if options.method == "qlora" and self.beside:
                base, self._cards = on_cards(self.place, options, self.run, self.config, self.devices, dtype=dtype)
            else:
                more = four_bits(self.device, dtype) if options.method == "qlora" else {}
                base = base_model(self.place, options, self.config, dtype=dtype, **more)
        check_vocabulary(self.place, base, self.tokenizer)
        if options.packing:
            check_apart(base)
        head = head_of(base)
        self._in_parts = head is not None and is_its_own(head, base)
        model: nn.Module = base if options.method == "full" else with_adapter(base, options)
        return model.train()

    def spread(self, model: nn.Module, devices: Sequence[torch.device]) -> None:
        """Layer by layer, by what is free on each card; the first has what is trained, the embedding and the head."""
        base = unwrapped(model)
        layers, cards = decoder_layers(base), self._cards
        if cards is None:
            cards = cards_of_layers(base, self.options, self.run, devices)
            bring_to_layers(layers, cards, devices)
        put(model, layers, cards, devices)
        self.note(told(cards, devices), None)

    def forward(self, model: nn.Module, batch: Mapping[str, Tensor]) -> Tensor:
        """The negative log likelihood of each row's labels, summed: [n]."""
        base = unwrapped(model)
        targets = shifted(batch["labels"], batch.get("segments"))
        given = {"input_ids": batch["input_ids"], "position_ids": batch.get("positions"), "use_cache": False}
        head = head_of(base) if self._in_parts else None
        if head is None:
            return token_loss(base(**given).logits, targets, lambda logits: logits, chunk=self.options.loss_chunk)
        return token_loss(base.base_model(**given).last_hidden_state, targets, head, chunk=self.options.loss_chunk)

    def loss(self, outputs: Tensor, targets: Any) -> Tensor:
        del targets
        return outputs

    def count(self, targets: Mapping[str, Tensor]) -> int:
        return counted(targets["labels"], targets.get("segments"))

    def lengths(self) -> Tensor:
        return self.rows.train.lengths

    def work(self) -> Tensor:
        return row_cost(self.rows.train.lengths, self._tokens_per_pair())

    def _tokens_per_pair(self) -> int:
        shape, again = shape_of(self.config), self.run.activation_checkpointing
        if self.options.method == "full":
            return tokens_per_pair(shape, checkpointing=again)
        adapted, rank = self.options.lora_targets, self.options.lora_rank
        return tokens_per_pair(shape, frozen=True, adapted=adapted, rank=rank, checkpointing=again)

    def cut(self, batch: Mapping[str, Tensor], length: int) -> dict[str, Tensor]:
        return {name: column[:, :length] for name, column in batch.items()}

    def travels(self, name: str) -> bool:
        """The frozen weights are each host's own."""
        return self.options.method == "full" or "lora_" in name

    def metadata(self) -> Mapping[str, Any]:
        return {**exported.metadata(self.options), "data": self.rows.told}

    def identity(self) -> Mapping[str, str]:
        return self.rows.identity

    def units(self) -> tuple[str, Tensor]:
        return "tokens", self.rows.train.lengths

    def figures(self, loss: float) -> Mapping[str, float]:
        return {"perplexity": perplexity(loss)}

    def answers(self, model: nn.Module) -> Sequence[tuple[str, str]]:
        """To the prompts of `[task] generate`, else to the questions of the first held-out rows."""
        options, held = self.options, self.rows.test
        prompts = [asked(self.tokenizer, prompt, system=options.system) for prompt in options.generate]
        if not prompts and held is not None:
            prompts = [of_row(self.tokenizer, held[number]) for number in range(min(HELD_OUT_PROMPTS, len(held)))]
        return greedy_answers(model, self.tokenizer, prompts, max_tokens=options.max_tokens)

    def optimizer(self, model: nn.Module) -> torch.optim.Optimizer | None:
        if self.options.optimizer == "adamw":  # as [run] says
            return None
        learning = [parameter for parameter in model.parameters() if parameter.requires_grad]
        found: torch.optim.Optimizer = short_optimizer(
            self.options.optimizer, learning, self.device, rate=self.run.learning_rate, decay=self.run.weight_decay
        )
        return found


def unwrapped(model: Any) -> Any:
    """transformers' model, without what peft puts around it."""
    return model.get_base_model() if hasattr(model, "get_base_model") else model
