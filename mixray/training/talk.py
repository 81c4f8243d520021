"""A student asked on this machine, through transformers: its own chat template, its own generation config, token by token.

In: a student's folder, a conversation. Out: the answer, handed over as it comes. Numbers are those of transformers, not of the endpoint:
at temperature above zero other words come of the same seed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transformers import TextStreamer

from mixray.chat import Messages, load_tokenizer, prompt_ids
from mixray.errors import TrainingError

MOST_TOKENS = 1024
"""Of an answer, where neither the user nor the student's generation config says otherwise."""


@dataclass(frozen=True)
class Sampling:
    """How an answer is drawn; what is None is the student's own generation config's to say."""

    temperature: float | None = None
    top_p: float | None = None
    max_tokens: int | None = None
    seed: int | None = None

    def settings(self) -> dict[str, Any]:
        """Return what overrides the generation config."""
        if self.temperature == 0:
            return {"do_sample": False}
        asked = {key: value for key, value in (("temperature", self.temperature), ("top_p", self.top_p)) if value is not None}
        return {"do_sample": True, **asked} if asked else {}


@dataclass(frozen=True)
class Reply:
    """One answer, and whether the student ended it by itself."""

    text: str
    ended: bool
    num_tokens: int


class _Stream(TextStreamer):
    def __init__(self, tokenizer: Any, say: Callable[[str], None]) -> None:
        super().__init__(tokenizer, skip_prompt=True, skip_special_tokens=True)
        self._say = say

    def on_finalized_text(self, text: str, stream_end: bool = False) -> None:
        self._say(text)


class Talker:
    """A student in memory.

    Args:
        folder: its Hugging Face folder.
        device: `cpu`, `cuda` or the like; the GPU where there is one, if None.

    Raises:
        MixrayError: it cannot be loaded.
    """

    def __init__(self, folder: Path, device: str | None = None) -> None:
        import torch
        from transformers import AutoModelForCausalLM

        self.tokenizer = load_tokenizer(folder)
        try:
            model = AutoModelForCausalLM.from_pretrained(folder, dtype="auto", trust_remote_code=False)
            self.model = model.to(device or ("cuda" if torch.cuda.is_available() else "cpu")).eval()
        except (OSError, ValueError, RuntimeError, AssertionError) as error:  # torch asserts that it was built for the device
            told = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise TrainingError("A student cannot be loaded", seen=str(folder), rule=told, do="check --device, and memory") from error

    def answer(self, messages: Messages, sampling: Sampling, say: Callable[[str], None]) -> Reply:
        """Answer the last turn of a conversation, telling `say` each piece of text as it comes.

        Raises:
            TrainingError: the conversation leaves no room for an answer.
        """
        import torch

        ids = prompt_ids(self.tokenizer, messages)
        most = self._room(len(ids), sampling)
        if sampling.seed is not None:
            torch.manual_seed(sampling.seed)
        prompt = torch.tensor([ids], device=self.model.device)
        out = self.model.generate(
            input_ids=prompt, attention_mask=torch.ones_like(prompt), max_new_tokens=most,
            streamer=_Stream(self.tokenizer, say), **sampling.settings(),
        )  # fmt: skip
        fresh = out[0, len(ids) :].tolist()
        ended = bool(fresh) and fresh[-1] in self._ends()
        return Reply(self.tokenizer.decode(fresh, skip_special_tokens=True), ended, len(fresh))

    def _room(self, num_prompt: int, sampling: Sampling) -> int:
        config = self.model.generation_config
        most = sampling.max_tokens or config.max_new_tokens or MOST_TOKENS
        context = getattr(self.model.config.get_text_config(), "max_position_embeddings", None)
        room = most if context is None else min(most, context - num_prompt)
        if room < 1:
            raise TrainingError(
                "A conversation leaves no room for an answer",
                seen=f"{num_prompt:,} tokens",
                rule=f"the student sees {context:,} tokens at once",
                do="ask less, or begin anew",
            )
        return room

    def _ends(self) -> list[int]:
        told = self.model.generation_config.eos_token_id
        return [self.tokenizer.eos_token_id] if told is None else told if isinstance(told, list) else [told]
