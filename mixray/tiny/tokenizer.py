"""The tiny world's tokenizer: a small byte-level BPE with single digits and a Qwen-style chat template.

In: nothing but the problems and styles of the tiny world, drawn with a fixed seed. Out: a Hugging Face tokenizer folder, byte for byte
the same each time it is made.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from mixray.tiny.problems import DAYS, take
from mixray.tiny.styles import STYLES, drill, write

VOCABULARY_SIZE = 512
MAX_POSITIONS = 1024
NUM_PROBLEMS = 2000
START, END, PAD = "<|im_start|>", "<|im_end|>", "<|endoftext|>"
CHAT_TEMPLATE = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


def train_tokenizer() -> PreTrainedTokenizerFast:
    """Return the tokenizer, trained on a fixed draw of the tiny world."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY_SIZE,
        special_tokens=[PAD, START, END],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(_texts(), trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token=END,
        pad_token=PAD,
        extra_special_tokens=[START],
        chat_template=CHAT_TEMPLATE,
        model_max_length=MAX_POSITIONS,
        clean_up_tokenization_spaces=False,
    )


def save_tokenizer(folder: Path) -> PreTrainedTokenizerFast:
    """Write the tokenizer into `folder` and return it."""
    tokenizer = train_tokenizer()
    tokenizer.save_pretrained(folder)
    return tokenizer


def _texts() -> Iterator[str]:
    random_draws = random.Random(0)
    yield from ["system\nuser\nassistant\n"] * NUM_PROBLEMS
    for problem in take("train", NUM_PROBLEMS, (1, len(DAYS)), 0):
        yield problem.question
        yield from (write(style, problem) for style in STYLES)
        yield "\n".join(drill(random_draws, 4))
