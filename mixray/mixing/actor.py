"""The actor behind the fits: a student reads each trace once; the ranks and surprisals of its tokens make the measures.

In: blocks of traces. Out: a row of `MEASURED` for each accepted one, in the same order. Keeps nothing.

Over the trained tokens t of a trace (the response and the end of its turn), with their surprisals and ranks as `forward` defines them:

    perplexity    = exp(mean over t of surprisal(t))
    rank_surprisal = sum over t of min(rank(t), CLIP) / sum over t of surprisal(t)

The second is the rank-surprisal ratio of arXiv 2601.14249, clipped as there: lower is better, a trace that is new to the student (high
surprisal) yet within its reach (low ranks). Perplexity is the baseline that the paper finds weak.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from mixray import chat, forward
from mixray.errors import MixtureError
from mixray.rows import accepted

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedTokenizerBase

CLIP = 100
"""The largest rank that counts (arXiv 2601.14249): beyond it ranks are noise, and a single one would outweigh a whole trace."""
LEAST_SURPRISAL = 1e-9
"""In nats per token: keeps the ratio finite where a student is certain of every token."""
DIGITS = 6
"""Significant digits of a measure: about what float32 can promise whatever stands beside a trace in its batch."""
_MOST_SURPRISAL = 700.0  # its perplexity is about the largest number there is

MEASURED = pa.schema(
    [
        ("trace_id", pa.string()),
        ("num_tokens", pa.int32()),
        ("num_loss_tokens", pa.int32()),
        ("mean_surprisal", pa.float64()),
        ("mean_rank", pa.float64()),
    ]
)


@dataclass(frozen=True)
class Fit:
    """How one trace fits a student: the means over its trained tokens, of surprisals (in nats) and of clipped ranks; not rounded."""

    mean_surprisal: float
    mean_rank: float

    @property
    def perplexity(self) -> float:
        """At least 1, lower where the student would sooner have written the trace itself; DIGITS digits."""
        return _rounded(math.exp(self.mean_surprisal))

    @property
    def rank_surprisal(self) -> float:
        """Lower where the trace teaches more; DIGITS digits."""
        return _rounded(self.mean_rank / max(self.mean_surprisal, LEAST_SURPRISAL))


def _rounded(value: float) -> float:
    return float(f"{value:.{DIGITS}g}")


class FitActor:
    """Holds a student and its tokenizer; measures blocks of traces (columns of rows.TRACE).

    Args:
        source: a folder or hub id, as `models.resolve` gives it.
        student_prompt: the user turn, with `{question}`.
        max_tokens: longer traces are not measured.
        on_gpu: whether a GPU is reserved; bfloat16 weights there, float32 on CPU.
        cuts: of longer traces the first `max_tokens` are measured.
    """

    def __init__(self, source: str, student_prompt: str, max_tokens: int, on_gpu: bool, cuts: bool = False) -> None:
        self.source, self.student_prompt, self.max_tokens, self.on_gpu, self.cuts = source, student_prompt, max_tokens, on_gpu, cuts

    @cached_property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        """The student's tokenizer."""
        return chat.load_tokenizer(self.source)

    @cached_property
    def model(self) -> Any:
        """The student, loaded with the first block: what a constructor raises reaches the caller of Ray Data as text alone."""
        import torch

        if self.on_gpu:
            return forward.load_student(self.source, "cuda", torch.bfloat16)
        torch.set_num_threads(1)  # as many as the actor has reserved
        return forward.load_student(self.source, "cpu", torch.float32)

    def __call__(self, block: pa.Table) -> pa.Table:
        """Return the MEASURED rows of the accepted among a block of traces; null measures where one is too long.

        Raises:
            MixtureError: the student's logits are not finite.
            MixrayError: it cannot be loaded, or has no chat template.
            TrainingError: the chat template renders the prompt otherwise, or never ends the turn.
        """
        encoded = {row["trace_id"]: self._encode(row["question"], row["response"]) for row in block.to_pylist() if accepted(row)}
        fitting = {trace_id: row for trace_id, row in encoded.items() if len(row.ids) <= self.max_tokens}
        fits = dict(zip(fitting, measure(self.model, list(fitting.values()), list(fitting)), strict=True))
        measured = [
            {"trace_id": trace_id, "num_tokens": len(row.ids), "num_loss_tokens": row.num_loss_tokens}
            | (asdict(fits[trace_id]) if trace_id in fits else {})
            for trace_id, row in encoded.items()
        ]
        return pa.Table.from_pylist(measured, schema=MEASURED)

    def _encode(self, question: str, response: str) -> chat.Encoded:
        row = chat.encode(self.tokenizer, [*chat.ask(question, self.student_prompt), {"role": "assistant", "content": response}])
        return chat.cut(row, self.max_tokens) if self.cuts else row


def measure(model: Any, rows: Sequence[chat.Encoded], names: Sequence[str]) -> list[Fit]:
    """Return the fit of each row to a model from `forward.load_student`.

    Args:
        model: the student.
        rows: the encoded traces.
        names: what an error calls them.

    Raises:
        MixtureError: the student's logits are not finite. No trace is passed over for it: a student that breaks on one cannot be trained.
    """
    told = forward.surprises(model, rows)
    return [_fit(surprisals, ranks, name) for (surprisals, ranks), name in zip(told, names, strict=True)]


def _fit(surprisals: torch.Tensor, ranks: torch.Tensor, name: str) -> Fit:
    fit = Fit(float(surprisals.mean()), float(ranks.clamp(max=CLIP).double().mean()))
    if not fit.mean_surprisal < _MOST_SURPRISAL:  # nor is NaN
        raise MixtureError(
            "A student's logits are not finite", seen=f"mean surprisal {fit.mean_surprisal} on trace {name}", do="check its weights"
        )
    return fit
