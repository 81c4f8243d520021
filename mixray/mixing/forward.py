"""The forward pass behind the fits: a student reads each trace once; the ranks and surprisals of its tokens make the measures.

In: blocks of traces. Out: a row of `MEASURED` for each accepted one, in the same order. Keeps nothing.

For the trained tokens t of a trace (the response and the end of its turn: the last `num_loss_tokens` of `chat.encode`), with the student's
logits z over its vocabulary given everything before t:

    surprisal(t) = log(sum over v of exp(z_v)) - z_t                 in nats
    rank(t)      = 1 + the number of v with z_v > z_t                equal logits do not count, so ties have one answer

    perplexity    = exp(mean over t of surprisal(t))
    rank_surprisal = sum over t of min(rank(t), CLIP) / sum over t of surprisal(t)

The second is the rank-surprisal ratio of arXiv 2601.14249, clipped as there: lower is better, a trace that is new to the student (high
surprisal) yet within its reach (low ranks). Perplexity is the baseline that the paper finds weak.

Shapes: B = traces of one pass, T = tokens of the longest of them, N = trained tokens of them all, D = width, V = vocabulary.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import pyarrow as pa
from transformers import PreTrainedTokenizerBase

from mixray import chat
from mixray.errors import MixtureError
from mixray.rows import accepted

if TYPE_CHECKING:
    import torch

CLIP = 100
"""The largest rank that counts (arXiv 2601.14249): beyond it ranks are noise, and a single one would outweigh a whole trace."""
BATCH_TOKENS = {"cpu": 2048, "cuda": 16384}
"""Tokens of one pass, padding included; a longer trace has a pass of its own. More made a CPU slower (its caches), not faster."""
HEAD_BYTES = 128 * 2**20
"""Float32 logits at hand at once: a vocabulary of 150,000 for a whole trace of 16,000 tokens would be 10 GB."""
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
    """

    def __init__(self, source: str, student_prompt: str, max_tokens: int, on_gpu: bool) -> None:
        self.source, self.student_prompt, self.max_tokens, self.on_gpu = source, student_prompt, max_tokens, on_gpu

    @cached_property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        """The student's tokenizer."""
        return chat.load_tokenizer(self.source)

    @cached_property
    def model(self) -> Any:
        """The student, loaded with the first block: what a constructor raises reaches the caller of Ray Data as text alone."""
        import torch

        if self.on_gpu:
            return load_student(self.source, "cuda", torch.bfloat16)
        torch.set_num_threads(1)  # as many as the actor has reserved
        return load_student(self.source, "cpu", torch.float32)

    def __call__(self, block: pa.Table) -> pa.Table:
        """Return the MEASURED rows of the accepted among a block of traces; null measures where one is too long.

        Raises:
            MixtureError: the student cannot be loaded, or its logits are not finite.
            MixrayError: it has no chat template.
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
        return chat.encode(self.tokenizer, [*chat.ask(question, self.student_prompt), {"role": "assistant", "content": response}])


def load_student(source: str, device: str, dtype: torch.dtype) -> Any:
    """Load a causal model for measuring, from safetensors and running no code from its folder; its head works in float32.

    Logits rounded to bfloat16 are often equal where they are not, and every rank would come out too low.

    Raises:
        MixtureError: it cannot be loaded.
    """
    import torch
    from transformers import AutoModelForCausalLM

    try:
        # No attention is named: transformers takes "sdpa" where the architecture has it, "eager" where not.
        model = AutoModelForCausalLM.from_pretrained(source, dtype=dtype, use_safetensors=True, trust_remote_code=False)
    except (OSError, ValueError) as error:
        raise MixtureError("A student cannot be loaded", seen=source, rule=str(error).splitlines()[0], do="check its `model`") from error
    model = model.to(device).eval()
    head = model.get_output_embeddings()
    for name, parameter in list(head.named_parameters()):  # new ones: an old one may be the embeddings' too
        if parameter.dtype != torch.float32:
            setattr(head, name, torch.nn.Parameter(parameter.detach().float(), requires_grad=False))
    return model


def measure(model: Any, rows: Sequence[chat.Encoded], names: Sequence[str]) -> list[Fit]:
    """Return the fit of each row to a model from `load_student`.

    Args:
        model: the student.
        rows: the encoded traces.
        names: what an error calls them.

    Raises:
        MixtureError: the student's logits are not finite. No trace is passed over for it: a student that breaks on one cannot be trained.
    """
    fits: dict[int, Fit] = {}
    for batch in batches([len(row.ids) for row in rows], BATCH_TOKENS[model.device.type]):
        told = surprise(model, [rows[index] for index in batch])
        for index, (surprisals, ranks) in zip(batch, told, strict=True):
            fits[index] = _fit(surprisals, ranks, names[index])
    return [fits[index] for index in range(len(rows))]


def _fit(surprisals: torch.Tensor, ranks: torch.Tensor, name: str) -> Fit:
    fit = Fit(float(surprisals.mean()), float(ranks.clamp(max=CLIP).double().mean()))
    if not fit.mean_surprisal < _MOST_SURPRISAL:  # nor is NaN
        raise MixtureError(
            "A student's logits are not finite", seen=f"mean surprisal {fit.mean_surprisal} on trace {name}", do="check its weights"
        )
    return fit


def batches(lengths: Sequence[int], most_tokens: int) -> Iterator[list[int]]:
    """Yield the rows' numbers, longest first, in batches of at most `most_tokens` with padding, or of one row."""
    batch: list[int] = []
    for index in sorted(range(len(lengths)), key=lambda index: (-lengths[index], index)):
        if batch and lengths[batch[0]] * (len(batch) + 1) > most_tokens:
            yield batch
            batch = []
        batch.append(index)
    if batch:
        yield batch


def surprise(model: Any, rows: Sequence[chat.Encoded]) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Return (surprisals float64, ranks int64) of each row's trained tokens, both [num_loss_tokens] on the CPU, from one pass.

    The body runs once; the head then runs over the trained positions alone, a slice at a time.
    """
    import torch

    width = max(len(row.ids) for row in rows)
    # Padding stands at the end, where causal attention never looks from a trace; what the mask hides, it would only waste time on.
    ids_BT = torch.tensor([[*row.ids, *[0] * (width - len(row.ids))] for row in rows], device=model.device)
    mask_BT = torch.tensor([[1] * len(row.ids) + [0] * (width - len(row.ids)) for row in rows], device=model.device)
    with torch.inference_mode():
        out = model.base_model(input_ids=ids_BT, attention_mask=mask_BT, use_cache=False)
        # The token at t is foretold by the state at t - 1.
        spans = [(len(row.ids) - row.num_loss_tokens, len(row.ids)) for row in rows]
        states_ND = torch.cat([out.last_hidden_state[line, start - 1 : end - 1] for line, (start, end) in enumerate(spans)])
        targets_N = torch.cat([ids_BT[line, start:end] for line, (start, end) in enumerate(spans)])
        size = max(1, HEAD_BYTES // (4 * model.config.get_text_config().vocab_size))
        slices = [
            _surprise(_logits(model, out, states_ND[at : at + size]), targets_N[at : at + size]) for at in range(0, len(targets_N), size)
        ]
        surprisals_N, ranks_N = (torch.cat(column).cpu() for column in zip(*slices, strict=True))
    sizes = [row.num_loss_tokens for row in rows]
    return list(zip(torch.split(surprisals_N, sizes), torch.split(ranks_N, sizes), strict=True))


def _surprise(logits_NV: torch.Tensor, targets_N: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return surprisals and ranks [N]."""
    import torch

    target_N1 = logits_NV.gather(1, targets_N[:, None])
    ranks_N = 1 + (logits_NV > target_N1).sum(dim=-1)
    top_N1 = logits_NV.max(dim=-1, keepdim=True).values
    # In float64, since the sum is hardly above 1 where a student is nearly certain.
    sums_N = (logits_NV - top_N1).exp_().sum(dim=-1, dtype=torch.float64)
    return sums_N.log() + (top_N1 - target_N1)[:, 0], ranks_N


def _logits(model: Any, out: Any, states_ND: torch.Tensor) -> torch.Tensor:
    """Return float32 logits [N, V] of some of the body's states.

    The model's own forward makes them, with its body standing still: some models scale or cap what their head gives.
    """
    import torch

    dummy_1N = torch.zeros(1, len(states_ND), dtype=torch.long, device=states_ND.device)
    still = type(out)(last_hidden_state=states_ND[None].float())
    body = model.base_model
    body.forward = lambda *args, **kwargs: still
    try:
        return model(input_ids=dummy_1N, use_cache=False).logits[0].float()
    finally:
        del body.forward
