"""Attention among the tokens of one packed row alone, and never across rows: what transformers models call in place of their own.

Rows of one pass lie on end in a single line. On a GPU, one variable-length kernel takes them all (torch's varlen attention); elsewhere
each row is attended to by itself, which is a block-diagonal mask without the work on what it hides. Sliding windows and soft caps of an
architecture hold within a row.

Shapes: T = tokens of the pass, H = query heads, K = key and value heads, D = head size.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F

from mixray.errors import TrainingError

DOCUMENTS = "mixray_documents"
"""The name under which transformers knows this attention."""
VARLEN_DTYPES = (torch.bfloat16, torch.float16)
VARLEN_HEAD_SIZE = 256


def register() -> str:
    """Tell transformers of this attention; return its name. It needs no mask, so none is made."""
    from transformers import AttentionInterface

    AttentionInterface.register(DOCUMENTS, attend)
    return DOCUMENTS


def bounds(ends: list[int], device: torch.device) -> dict[str, Any]:
    """Return the arguments that tell a model's attention where rows end.

    Args:
        ends: for each row the number of tokens up to its last one.
        device: where the pass runs.
    """
    starts = [0, *ends]
    longest = max(end - start for start, end in zip(starts, ends, strict=False))
    places = torch.tensor(starts, dtype=torch.int32, device=device)
    # These are the names under which transformers hands rows' places through a model to flash attention.
    return {"cu_seq_lens_q": places, "cu_seq_lens_k": places, "max_length_q": longest, "max_length_k": longest}


def attend(
    module: torch.nn.Module,
    query_1HTD: torch.Tensor,
    key_1KTD: torch.Tensor,
    value_1KTD: torch.Tensor,
    attention_mask: torch.Tensor | None,
    *,
    scaling: float | None = None,
    dropout: float = 0.0,
    sliding_window: int | None = None,
    softcap: float | None = None,
    cu_seq_lens_q: torch.Tensor | None = None,
    max_length_q: int | None = None,
    **further: Any,
) -> tuple[torch.Tensor, None]:
    """Attend within each row; return [1, T, H, D].

    Raises:
        TrainingError: the model wants something of its attention that is not built here.
    """
    if further.get("s_aux") is not None or further.get("position_bias") is not None or not getattr(module, "is_causal", True):
        raise TrainingError(
            "A student's attention is of a kind that is not built for packed rows",
            seen=type(module).__name__, rule="causal, without sinks or biases", do="set train.attention=masked",
        )  # fmt: skip
    if query_1HTD.shape[0] != 1:
        raise TrainingError("Packed rows lie in one line", seen=list(query_1HTD.shape), rule="a batch of 1")
    if cu_seq_lens_q is None:
        cu_seq_lens_q, max_length_q = _whole(query_1HTD), query_1HTD.shape[2]
    fits_kernel = query_1HTD.is_cuda and query_1HTD.dtype in VARLEN_DTYPES and query_1HTD.shape[-1] <= VARLEN_HEAD_SIZE
    if fits_kernel and softcap is None and dropout == 0.0:
        return _by_kernel(query_1HTD, key_1KTD, value_1KTD, cu_seq_lens_q, int(max_length_q or 0), scaling, sliding_window), None
    # Split, not sliced: the gradient of every slice would be a tensor of the whole pass.
    lengths = cu_seq_lens_q.diff().tolist()
    queries, keys, values = (torch.split(part, lengths, dim=2) for part in (query_1HTD, key_1KTD, value_1KTD))
    parts = [
        _one_row(query, key, value, scaling, dropout, sliding_window, softcap)
        for query, key, value in zip(queries, keys, values, strict=True)
    ]
    return torch.cat(parts, dim=2).transpose(1, 2).contiguous(), None


def _whole(query_1HTD: torch.Tensor) -> torch.Tensor:
    return torch.tensor([0, query_1HTD.shape[2]], dtype=torch.int32, device=query_1HTD.device)


def _by_kernel(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    places: torch.Tensor,
    longest: int,
    scaling: float | None,
    window: int | None,
) -> torch.Tensor:
    from torch.nn.attention.varlen import varlen_attn

    line: list[torch.Tensor] = [part[0].transpose(0, 1) for part in (query, key, value)]
    left = -1 if window is None else window - 1  # a window of n tokens is the token itself and n - 1 before it
    many = query.shape[1] != key.shape[1]
    out: Any = varlen_attn(
        line[0], line[1], line[2], places, places, longest, longest, scale=scaling, window_size=(left, 0), enable_gqa=many
    )
    return out[None]  # type: ignore[no-any-return]


def _one_row(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    scaling: float | None,
    dropout: float,
    window: int | None,
    softcap: float | None,
) -> torch.Tensor:
    tokens = query.shape[2]
    narrow = window is not None and window < tokens
    if softcap is not None:
        return _softcapped(query, key, value, scaling, dropout, window if narrow else None, softcap)
    many = query.shape[1] != key.shape[1]
    if not narrow:
        return F.scaled_dot_product_attention(query, key, value, dropout_p=dropout, is_causal=True, scale=scaling, enable_gqa=many)
    return F.scaled_dot_product_attention(
        query, key, value, attn_mask=_band(tokens, window, query.device), dropout_p=dropout, scale=scaling, enable_gqa=many
    )


def _softcapped(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scaling: float | None, dropout: float, window: int | None, softcap: float
) -> torch.Tensor:
    """Attend with scores squeezed into [-softcap, softcap], as Gemma 2 does; no kernel of torch has it."""
    repeats = query.shape[1] // key.shape[1]
    key, value = (part.repeat_interleave(repeats, dim=1) for part in (key, value))
    scores = query @ key.transpose(-1, -2) * (query.shape[-1] ** -0.5 if scaling is None else scaling)
    scores = softcap * torch.tanh(scores / softcap)
    scores = scores.masked_fill(~_band(query.shape[2], window, query.device), float("-inf"))
    weights = torch.softmax(scores, dim=-1, dtype=torch.float32).to(query.dtype)
    return F.dropout(weights, dropout, training=dropout > 0) @ value


def _band(tokens: int, window: int | None, device: torch.device) -> torch.Tensor:
    """Return [T, T]: whether a token sees another, itself and those before it, in the window where there is one."""
    seen = torch.ones(tokens, tokens, dtype=torch.bool, device=device).tril()
    return seen if window is None else seen.triu(1 - window)
