"""One forward pass of a student over conversations that are there: the rank and the surprisal of every trained token.

In: rows of `chat.Encoded` and a model from `load_student`. Out: two numbers per token. What is made of them is the stages' affair: the fits
of traces in `mixing`, the shifts of responses in `shifts`. Keeps nothing.

For a trained token t (the last `num_loss_tokens` of a row), with the student's logits z over its vocabulary given everything before t:

    surprisal(t) = log(sum over v of exp(z_v)) - z_t                 in nats; its probability is exp(-surprisal)
    rank(t)      = 1 + the number of v with z_v > z_t                equal logits do not count, so ties have one answer

What stands beside a row in its batch changes the rounding: the last digits of a surprisal may differ, and where two logits all but tie,
a rank by one. The same rows in the same batches give the same numbers on the same kind of machine.

Shapes: B = rows of one pass, T = tokens of the longest of them, N = trained tokens of them all, D = width, V = vocabulary.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from mixray import chat
from mixray.errors import MixrayError

if TYPE_CHECKING:
    import torch

BATCH_TOKENS = {"cpu": 2048, "cuda": 16384}
"""Tokens of one pass, padding included; a longer row has a pass of its own. More made a CPU slower (its caches), not faster."""
HEAD_BYTES = 128 * 2**20
"""Float32 logits at hand at once: a vocabulary of 150,000 for a whole trace of 16,000 tokens would be 10 GB."""

Surprises = tuple["torch.Tensor", "torch.Tensor"]
"""Of one row: surprisals (float64) and ranks (int64), both [num_loss_tokens] on the CPU."""


def load_student(source: str, device: str, dtype: torch.dtype) -> Any:
    """Load a causal model for measuring, from safetensors and running no code from its folder; its head works in float32.

    Logits rounded to bfloat16 are often equal where they are not, and every rank would come out too low.

    Raises:
        MixrayError: it cannot be loaded.
    """
    import torch
    from transformers import AutoModelForCausalLM

    try:
        # No attention is named: transformers takes "sdpa" where the architecture has it, "eager" where not.
        model = AutoModelForCausalLM.from_pretrained(source, dtype=dtype, use_safetensors=True, trust_remote_code=False)
    except (OSError, ValueError) as error:
        raise MixrayError("A student cannot be loaded", seen=source, rule=str(error).splitlines()[0], do="check its `model`") from error
    model = model.to(device).eval()
    head = model.get_output_embeddings()
    for name, parameter in list(head.named_parameters()):  # new ones: an old one may be the embeddings' too
        if parameter.dtype != torch.float32:
            setattr(head, name, torch.nn.Parameter(parameter.detach().float(), requires_grad=False))
    return model


def surprises(model: Any, rows: Sequence[chat.Encoded], most_tokens: int | None = None) -> list[Surprises]:
    """Return the surprisals and ranks of each row's trained tokens, in the order of the rows.

    Args:
        model: from `load_student`.
        rows: at least one trained token in each.
        most_tokens: of one pass; BATCH_TOKENS of the model's device where unset.
    """
    told: dict[int, Surprises] = {}
    for batch in batches([len(row.ids) for row in rows], most_tokens or BATCH_TOKENS[model.device.type]):
        told |= zip(batch, surprise(model, [rows[index] for index in batch]), strict=True)
    return [told[index] for index in range(len(rows))]


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


def surprise(model: Any, rows: Sequence[chat.Encoded]) -> list[Surprises]:
    """Return the surprisals and ranks of each row's trained tokens, from one pass.

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
