"""The actor behind the shifts: the untouched student reads each response once, teacher-forced, and says how it ranks each token.

In: blocks of one arm's responses. Out: a row of `SHIFT` for each, in the same order, and how its tokens are spelled. Keeps nothing.
Ranks and surprisals are those of `forward`: rank 1 is the untouched student's own choice, and equal logits do not count.
"""

from __future__ import annotations

import json
from functools import cached_property
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from mixray import chat, forward
from mixray.errors import MixrayError
from mixray.shifts import tokens
from mixray.store import Artefact

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

ANSWERED = pa.schema(
    [
        ("arm", pa.string()),
        ("problem_id", pa.string()),
        ("benchmark", pa.string()),
        ("sample", pa.int32()),
        ("question", pa.string()),
        ("response", pa.string()),
        ("finish_reason", pa.string()),
        ("num_prompt_tokens", pa.int32()),
        ("num_response_tokens", pa.int32()),
    ]
)
_RANKS = pa.list_(pa.int32())
SHIFT = pa.schema(
    [
        ("problem_id", pa.string()),
        ("benchmark", pa.string()),
        ("sample", pa.int32()),
        ("response", pa.string()),
        ("num_prompt_tokens", pa.int32()),
        ("num_prompt_tokens_asked", pa.int32()),  # as the endpoint counted them; null where it does not tell
        ("num_tokens_sampled", pa.int32()),  # of the response, likewise
        ("token_ids", pa.list_(pa.int32())),  # of the response and its end; the other lists are as long
        ("words", pa.list_(pa.int32())),  # the token's word, as a place in response.split(); -1 for blanks and the end
        ("ranks", _RANKS),  # under the untouched student
        ("surprisals", pa.list_(pa.float32())),  # in nats, under the untouched student; exp(-surprisal) is the probability
        ("own_ranks", _RANKS),  # under the arm itself; null where it was not asked
    ]
)
MADE = pa.schema([("arm", pa.string()), *SHIFT, ("spellings", pa.string())])
"""What travels back: SHIFT, the arm, and in a block's first row the spellings of its tokens as JSON `{id: text}`."""


class ShiftActor:
    """Holds the untouched student with its tokenizer, and the arm whose responses it reads where that is asked to read them, too.

    Args:
        source: the untouched student: a folder or hub id, as `models.resolve` gives it.
        own: by arm, its weights; empty where the arms themselves read nothing.
        prompts: by benchmark, the user turn as it was asked, with `{question}`.
        dtype: of the weights.
        batch_tokens: of one forward pass; the device's default where None.
        on_gpu: whether a GPU, or a part of one, is reserved.
    """

    def __init__(
        self, source: str, own: dict[str, Artefact], prompts: dict[str, str], dtype: str, batch_tokens: int | None, on_gpu: bool
    ) -> None:
        self.source, self.own, self.prompts = source, own, prompts
        self.dtype, self.batch_tokens, self.on_gpu = dtype, batch_tokens, on_gpu
        self._arm: tuple[str, Any] | None = None

    @cached_property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        """The untouched student's tokenizer."""
        return chat.load_tokenizer(self.source)

    @cached_property
    def untouched(self) -> Any:
        """The untouched student, loaded with the first block: what a constructor raises reaches the caller of Ray Data as text alone."""
        return self._load(self.source)

    def arm(self, name: str) -> Any:
        """Return an arm's model; the last one alone is kept."""
        if self._arm is None or self._arm[0] != name:
            self._arm = None  # its memory is free before the next one is loaded
            self._arm = name, self._load(str(self.own[name].local_folder()))
        return self._arm[1]

    def __call__(self, block: pa.Table) -> pa.Table:
        """Return the MADE rows of a block of ANSWERED ones, all of one arm.

        Raises:
            MixrayError: a model cannot be loaded, has no chat template, or its logits are not finite.
        """
        answered = block.to_pylist()
        responses = [self._read(row) for row in answered]
        encoded = [response.encoded for response in responses]
        told = forward.surprises(self.untouched, encoded, self.batch_tokens)
        arm = answered[0]["arm"]
        own = [None] * len(encoded) if arm not in self.own else forward.surprises(self.arm(arm), encoded, self.batch_tokens)
        made = [_row(*parts) for parts in zip(answered, responses, told, own, strict=True)]
        seen = sorted({token_id for response in responses for token_id in response.token_ids})
        made[0]["spellings"] = json.dumps({token_id: tokens.spelled(self.tokenizer, token_id) for token_id in seen})
        return pa.Table.from_pylist(made, schema=MADE)

    def _load(self, source: str) -> Any:
        import torch

        if not self.on_gpu:
            torch.set_num_threads(1)  # as many as the actor has reserved
        return forward.load_student(source, "cuda" if self.on_gpu else "cpu", getattr(torch, self.dtype))

    def _read(self, row: dict[str, Any]) -> tokens.Response:
        messages = chat.ask(row["question"], self.prompts[row["benchmark"]])
        return tokens.read(self.tokenizer, messages, row["response"], row["finish_reason"] == "stop")


def _row(row: dict[str, Any], response: tokens.Response, told: forward.Surprises, own: forward.Surprises | None) -> dict[str, Any]:
    surprisals, ranks = told
    if not surprisals.isfinite().all():
        raise MixrayError(
            "A student's logits are not finite",
            seen=f"on the response of {row['arm']} to {row['problem_id']}",
            rule="the untouched student reads every response",
            do="check its weights; shifts.dtype float32 has the widest range",
        )
    return {
        **{name: row[name] for name in ("arm", "problem_id", "benchmark", "sample", "response")},
        "num_prompt_tokens": len(response.encoded.ids) - response.encoded.num_loss_tokens,
        "num_prompt_tokens_asked": row["num_prompt_tokens"],
        "num_tokens_sampled": row["num_response_tokens"],
        "token_ids": response.token_ids,
        "words": response.words,
        "ranks": ranks.tolist(),
        "surprisals": surprisals.tolist(),
        "own_ranks": None if own is None else own[1].tolist(),
        "spellings": None,
    }
