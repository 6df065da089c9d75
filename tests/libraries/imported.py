"""What a rank with a language model imports, for the process that ranks of a test are forked from."""

from __future__ import annotations

import peft  # noqa: F401
import transformers.models.llama.modeling_llama  # noqa: F401

import tests.trainer.imported  # noqa: F401
