"""How much memory training a language model takes on one device: said before anything is loaded. Pure, no torch.

From the sizes in the model's config.json, how it is trained and how long a row is, for one row at a time. A decoder of
L layers of width d, each with attention (H heads of e, K heads of keys and values) and a feed-forward part of width f,
over a vocabulary of V, on n tokens; c bytes hold a number that is computed with, w one of the weights:

    weights      (V d (1, or 2 untied) + L (d H e + 2 d K e + H e d + 3 d f + 2 d)) w; the linear layers of QLoRA take
                 4.127 bits a weight (Dettmers et al. 2023, section 3: NF4, double quantisation), all else w
    adapter      r (in + out) float32 of each LoRA target (Hu et al. 2021, section 4.1)
    gradients    as large as what learns; the reducer of DDP keeps them a second time
    optimizer    two averages: 8 bytes a number that learns, 2 where they take 8 bits, with one scale for 256
    activations  what a layer keeps for its backward pass, counted as Korthikanti et al. 2022 do (arXiv:2205.05198,
                 section 4.1), for what PyTorch keeps of RMSNorm, SwiGLU and fused attention: see `_kept`. All layers'
                 or, with activation checkpointing, the input of each and all of one
    logits       of `loss_chunk` tokens at once: log-softmax, the gradient of the loss, and its own, in float32

Against what torch's allocator counts on a CPU, tests/libraries/test_memory.py says how far off this is.

    >>> llama = Architecture.of({"hidden_size": 4096, "num_hidden_layers": 32, "num_attention_heads": 32,
    ...     "num_key_value_heads": 8, "intermediate_size": 14336, "vocab_size": 128256})
    >>> llama.parameters
    8030261248
    >>> round(needed(llama, Training(method="qlora", length=1024, weight_bytes=2)).total / 2**30, 1)
    13.3
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

OF_4_BITS = 4.127 / 8  # bytes of a weight
FLOAT32 = 4
AVERAGES = {"adamw": 2 * FLOAT32, "adamw_8bit": 2 * (1 + FLOAT32 / 256), "paged_adamw_8bit": 2 * (1 + FLOAT32 / 256)}
METHODS = {"full": "full training", "lora": "LoRA", "qlora": "QLoRA"}
DTYPES = {"float64": 8, "float32": 4, "bfloat16": 2, "float16": 2}
LOGIT_COPIES = 3  # in float32
NO_GATE = ("gpt2", "gpt_neo", "gpt_neox", "gptj", "opt", "phi", "bloom", "falcon", "codegen", "starcoder2")
NAMES: dict[str, tuple[str, ...]] = {  # of the same number in different families
    "layers": ("num_hidden_layers", "n_layer", "num_layers"),
    "hidden": ("hidden_size", "n_embd", "d_model"),
    "heads": ("num_attention_heads", "n_head"),
    "vocabulary": ("vocab_size",),
}

WIDE = ("intermediate_size", "n_inner", "ffn_dim")
EXPERTS = ("num_local_experts", "num_experts", "n_routed_experts")


@dataclass(frozen=True, slots=True, kw_only=True)
class Architecture:
    """The sizes of a decoder. Each is at least 1."""

    layers: int
    hidden: int
    heads: int
    vocabulary: int
    key_value_heads: int
    head_size: int
    intermediate: int
    gated: bool = True  # three matrices of the feed-forward part, not two
    tied: bool = False  # the output layer is the embedding

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> Architecture:
        """From config.json. Raises ValueError that names what is lacking, or is of a kind that is not known here."""
        inner = config.get("text_config")
        table = {**config, **inner} if isinstance(inner, Mapping) else dict(config)
        if experts := next((key for key in EXPERTS if _size(table, key)), ""):
            raise ValueError(f"it is a mixture of experts ({experts})")
        sizes = {name: next((found for key in keys if (found := _size(table, key))), 0) for name, keys in NAMES.items()}
        if missing := [NAMES[name][0] for name, size in sizes.items() if not size]:
            raise ValueError(f"its config.json has no {' and no '.join(missing)}")
        hidden, heads = sizes["hidden"], sizes["heads"]
        kind = str(table.get("model_type", ""))
        return cls(
            **sizes,
            key_value_heads=_size(table, "num_key_value_heads") or (1 if table.get("multi_query") else heads),
            head_size=_size(table, "head_dim") or max(1, hidden // heads),
            intermediate=next((found for key in WIDE if (found := _size(table, key))), 4 * hidden),
            gated=kind not in NO_GATE,
            tied=table.get("tie_word_embeddings", kind in NO_GATE or kind.startswith("gemma")) is True,
        )  # fmt: skip

    @property
    def linear(self) -> dict[str, tuple[int, int]]:
        """Of one layer: in and out, by the names that Llama's family has for them."""
        attended, kept = self.heads * self.head_size, self.key_value_heads * self.head_size
        found = {
            "q_proj": (self.hidden, attended), "k_proj": (self.hidden, kept), "v_proj": (self.hidden, kept),
            "o_proj": (attended, self.hidden), "up_proj": (self.hidden, self.intermediate),
            "down_proj": (self.intermediate, self.hidden),
        }  # fmt: skip
        return {**found, "gate_proj": (self.hidden, self.intermediate)} if self.gated else found

    @property
    def linear_parameters(self) -> int:
        """Of all layers: what QLoRA keeps in 4 bits."""
        return self.layers * sum(rows * columns for rows, columns in self.linear.values())

    @property
    def parameters(self) -> int:
        embeddings = self.vocabulary * self.hidden * (1 if self.tied else 2)
        return embeddings + self.linear_parameters + (2 * self.layers + 1) * self.hidden


@dataclass(frozen=True, slots=True, kw_only=True)
class Training:
    """How it is trained. The defaults are those of `[task]`; `weight_bytes` and `compute_bytes` follow from dtypes."""

    method: str = "lora"  # full, lora, qlora
    length: int = 2048  # tokens of the row
    weight_bytes: int = 4  # of a weight that is not in 4 bits
    compute_bytes: int = 0  # of what is computed with; 0: as the weights are
    optimizer: str = "adamw"
    rank: int = 16  # of LoRA
    targets: tuple[str, ...] = ("q_proj", "v_proj")  # ("all-linear",): all of them
    loss_chunk: int = 1024  # 0: all tokens
    checkpointing: bool = False

    @classmethod
    def of(cls, task: Mapping[str, Any], *, precision: str, checkpointing: bool, bf16: bool) -> Training:
        """From `[task]`, with the defaults of its keys where it has them not, and from `[run]`. `bf16`: whether it is a
        GPU that computes in it. Raises ValueError for a method, an optimizer or a dtype that there is not."""
        method, optimizer = str(task.get("method", "lora")), str(task.get("optimizer", "adamw"))
        dtype = str(task.get("dtype", "auto"))
        short = bf16 and method != "full"
        if method not in METHODS or optimizer not in AVERAGES or dtype not in (*DTYPES, "auto"):
            raise ValueError(f"what [task] asks for is not known: {method}, {optimizer}, {dtype}")
        return cls(
            method=method, optimizer=optimizer, length=int(task.get("length", 2048)),
            weight_bytes=DTYPES.get(dtype, 2 if short else FLOAT32),
            compute_bytes=2 if precision in ("bf16", "fp16") or (precision == "auto" and bf16) else 0,
            rank=int(task.get("lora_rank", 16)), targets=tuple(task.get("lora_targets", ("q_proj", "v_proj"))),
            loss_chunk=int(task.get("loss_chunk", 1024)), checkpointing=checkpointing,
        )  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Needed:
    """Bytes."""

    weights: int
    adapter: int
    gradients: int
    optimizer: int
    activations: int
    again: int  # a layer that is computed again, with activation checkpointing
    logits: int

    @property
    def total(self) -> int:
        """At the worst moment: the logits are gone when layers are computed again, all else is there at both."""
        both = self.weights + self.adapter + self.gradients + self.optimizer + self.activations
        return both + max(self.again, self.logits)


def needed(model: Architecture, how: Training) -> Needed:
    """For one row of `how.length` tokens."""
    computed = how.compute_bytes or how.weight_bytes
    learns, adapter = _learning(model, how)
    size = how.weight_bytes if how.method == "full" else max(FLOAT32, how.weight_bytes if how.weight_bytes > 4 else 0)
    averages = AVERAGES[how.optimizer] * (size / FLOAT32 if how.optimizer == "adamw" else 1)
    short = how.method == "full" and computed < how.weight_bytes  # autocast keeps a copy of what learns
    kept = _kept(model, how, computed)
    layer = _layer_keeps(model, how, computed)
    chunk = min(how.loss_chunk or how.length, how.length)
    once_more = computed if computed < FLOAT32 else 0  # logits and their gradient before they are float32
    copies = LOGIT_COPIES * max(FLOAT32, computed) + 2 * once_more
    states = 4 * how.length * model.hidden * computed  # after the last layer: as they are, and where labels count
    return Needed(
        weights=_weights(model, how) + (model.linear_parameters * computed if short else 0),
        adapter=adapter * size,
        gradients=2 * learns * size,
        optimizer=int(learns * averages),
        activations=model.layers * layer + states,
        again=kept if how.checkpointing else 0,
        logits=chunk * model.vocabulary * copies,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class OneLayer:
    """Bytes of one layer, all of them part of `Needed` but for the copies."""

    weights: int  # that do not learn
    activations: int
    copies: int  # where it lies on another card than what it has to learn: that, and its gradient


def of_layer(model: Architecture, how: Training) -> OneLayer:
    """For one row of `how.length` tokens."""
    computed = how.compute_bytes or how.weight_bytes
    linear = model.linear_parameters // model.layers
    weights = int(linear * (OF_4_BITS if how.method == "qlora" else how.weight_bytes))
    weights += 2 * model.hidden * how.weight_bytes
    learns = weights if how.method == "full" else needed(model, how).adapter // model.layers
    return OneLayer(
        weights=0 if how.method == "full" else weights,
        activations=_layer_keeps(model, how, computed),
        copies=2 * learns,
    )


def _weights(model: Architecture, how: Training) -> int:
    if how.method != "qlora":
        return model.parameters * how.weight_bytes
    others = model.parameters - model.linear_parameters
    return int(model.linear_parameters * OF_4_BITS) + others * how.weight_bytes


def _learning(model: Architecture, how: Training) -> tuple[int, int]:
    """How many numbers learn, and how many of them are beside the weights."""
    if how.method == "full":
        return model.parameters, 0
    chosen = [sizes for name, sizes in model.linear.items() if name in how.targets or how.targets == ("all-linear",)]
    adapter = model.layers * how.rank * sum(rows + columns for rows, columns in chosen)
    return adapter, adapter


def _layer_keeps(model: Architecture, how: Training, computed: int) -> int:
    """Until the backward pass."""
    return model.hidden * computed * how.length if how.checkpointing else _kept(model, how, computed)


def _kept(model: Architecture, how: Training, computed: int) -> int:
    """Bytes that one layer keeps for its backward pass. A frozen layer keeps no input of its own."""
    targets = set(model.linear) if how.method == "full" or how.targets == ("all-linear",) else set(how.targets)
    hidden, wide = model.hidden, model.intermediate
    attended, keys = model.heads * model.head_size, model.key_value_heads * model.head_size
    norms = 2 * 2 * hidden  # what comes in, and as it is normed
    rounded = 2 * hidden * FLOAT32 if computed < FLOAT32 else 0  # norms are computed in float32
    inputs = hidden * bool(targets & {"q_proj", "k_proj", "v_proj"}) + hidden * bool(targets & {"gate_proj", "up_proj"})
    inputs += wide * ("down_proj" in targets)
    attention = 2 * attended + 2 * (max(keys, attended))  # queries and what comes out; keys, values
    feed = 3 * wide if model.gated else 2 * wide
    thin = how.rank * len(targets) * FLOAT32 if how.method != "full" else 0
    return how.length * ((norms + inputs + attention + feed) * computed + rounded + thin)


def _size(table: Mapping[str, Any], key: str) -> int:
    """0 where it is no number above 0."""
    value = table.get(key)
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else 0
