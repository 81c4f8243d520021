"""What a training proves before its first step: that it trains what it should, and what will be asked.

In: a student's tokenizer, the rows, the student itself. Out: nothing, or an error that says what to mend.
"""

from __future__ import annotations

import tempfile
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from mixray.chat import ask, encode, load_tokenizer, prompt_ids
from mixray.errors import TrainingError
from mixray.models import resolve
from mixray.training.tokens import TokenRows

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from mixray.training.engine import Engine

PROBE = "What is 2+2?"
# Packed and alone, the same products are summed in another order; a row that sees its neighbour is off by far more.
TOLERANCE = {"float32": 1e-4, "bfloat16": 3e-2}


def ready_tokenizer(source: str, pad_token: str | None) -> PreTrainedTokenizerBase:
    """Return a student's tokenizer with a padding token, checked.

    Args:
        source: the student's folder or hub id.
        pad_token: the recipe's, for a tokenizer without one.

    Raises:
        TrainingError: there is no padding token, or it is the end of turn; the template does not open the assistant's turn.
    """
    tokenizer = load_tokenizer(source)
    if pad_token is not None:
        if pad_token not in tokenizer.get_vocab():
            raise TrainingError("A padding token is not in the vocabulary", seen=pad_token, rule=f"one of {_candidates(tokenizer)}")
        tokenizer.pad_token = pad_token
    if tokenizer.pad_token is None:
        spare = [token for token in _candidates(tokenizer) if "pad" in token.lower()]
        if not spare:
            raise TrainingError(
                "A tokenizer has no padding token", seen=source, do=f"set train.pad_token, to one of {_candidates(tokenizer)}"
            )
        tokenizer.pad_token = spare[0]
    if tokenizer.pad_token_id == tokenizer.eos_token_id:
        raise TrainingError(
            "A tokenizer pads with its end of turn: whoever masks padding would never train a student to stop",
            seen=f"{source}: pad and end are both {tokenizer.eos_token!r}",
            do=f"set train.pad_token, to one of {_candidates(tokenizer)}",
        )
    _check_template(tokenizer, source)
    return tokenizer


def check_tokenizer(model: str, pad_token: str | None) -> None:
    """Look at a student's tokenizer and chat template before anything is made for it; of a model on the hub the tokenizer alone is fetched.

    Raises:
        MixrayError: it cannot be loaded, or has no chat template.
        TrainingError: it cannot be trained with (see `ready_tokenizer` and `chat.encode`).
    """
    encode(ready_tokenizer(resolve(model), pad_token), [*ask(PROBE), {"role": "assistant", "content": "4"}])


def _candidates(tokenizer: PreTrainedTokenizerBase) -> list[str]:
    used = {tokenizer.eos_token, tokenizer.bos_token}
    return [str(token) for _, token in sorted(tokenizer.added_tokens_decoder.items()) if str(token) not in used][:20]


def _check_template(tokenizer: PreTrainedTokenizerBase, source: str) -> None:
    """Prove that the template opens the assistant's turn, and gives the same tokens once it is saved and loaded by whoever serves it."""
    asked = prompt_ids(tokenizer, ask(PROBE))
    closed = tokenizer.apply_chat_template(ask(PROBE), tokenize=True, add_generation_prompt=False, return_dict=False)
    if list(closed) == asked:
        raise TrainingError(
            "A chat template has no generation prompt: nothing tells the student that it is its turn",
            seen=source,
            rule="add_generation_prompt=True must add the opening of the assistant's turn",
            do="add {% if add_generation_prompt %}...{% endif %} to the template in the student's folder",
        )
    with tempfile.TemporaryDirectory(prefix="mixray-tokenizer-") as folder:
        tokenizer.save_pretrained(folder)
        served = prompt_ids(load_tokenizer(folder), ask(PROBE))
    if served != asked:
        raise TrainingError(
            "A tokenizer gives other tokens once it is saved and loaded: the endpoint would send what was not trained",
            seen=tokenizer.decode(served), rule=tokenizer.decode(asked), do="mend the tokenizer in the student's folder",
        )  # fmt: skip


def check_rows(rows: TokenRows, tokenizer: PreTrainedTokenizerBase, cut_to: int | None = None) -> None:
    """Prove that every row trains something and ends in the end-of-turn token (TRL#6668, TRL#3091), those apart that were cut.

    Args:
        rows: what is to be trained.
        tokenizer: the student's.
        cut_to: tokens that longer rows were cut to, where the recipe asks for it: no row may be longer, and a cut one not shorter.

    Raises:
        TrainingError: a row does not.
    """
    lengths = np.diff(rows.ends, prepend=0)
    wrong = np.flatnonzero((rows.num_loss_tokens < 1) | (rows.num_loss_tokens >= lengths))
    if len(wrong):
        row = int(wrong[0])
        raise TrainingError(
            "A row trains no token, or its own prompt",
            seen=f"{rows.problem_ids[row]}: {rows.num_loss_tokens[row]} of {lengths[row]} tokens",
        )
    is_cut = rows.num_cut_tokens > 0
    _check_cuts(rows, lengths, is_cut, cut_to)
    endless = np.flatnonzero((rows.ids[rows.ends - 1] != tokenizer.eos_token_id) & ~is_cut)
    if len(endless):
        raise TrainingError(
            "A row does not train the end of turn: the student would never stop",
            seen=f"{rows.problem_ids[int(endless[0])]}: {tokenizer.decode(rows[int(endless[0])].ids[-8:].tolist())}",
            rule=f"its last token must be {tokenizer.eos_token}",
        )


def _check_cuts(rows: TokenRows, lengths: NDArray[np.int64], is_cut: NDArray[np.bool_], cut_to: int | None) -> None:
    """Prove that rows without an end of turn are those that the recipe's limit cut, and no others."""
    wrong = np.flatnonzero(is_cut if cut_to is None else (lengths > cut_to) | (is_cut & (lengths != cut_to)))
    if len(wrong):
        row = int(wrong[0])
        raise TrainingError(
            "A row was not cut as the recipe asks",
            seen=f"{rows.problem_ids[row]}: {lengths[row]} tokens, and {rows.num_cut_tokens[row]} cut off",
            rule="train.too_long=drop: no row is cut" if cut_to is None else f"train.too_long=cut: longer rows end at {cut_to} tokens",
        )


def check_packing(engine: Engine, rows: TokenRows, pad_id: int, dtype: str) -> None:
    """Prove on the student itself that packed rows do not see one another: two rows' loss together is that of each alone.

    Every worker must check, with the same rows.

    Raises:
        TrainingError: it is not.
    """
    from mixray.training.batch import collate

    shortest = np.argsort(np.diff(rows.ends, prepend=0), kind="stable")[:2]
    pair = [rows[int(row)] for row in shortest]
    alone = sum(engine.loss(collate([row], pad_id)) for row in pair)
    together = engine.loss(collate(pair, pad_id))
    if not abs(together - alone) <= TOLERANCE[dtype] * abs(alone):
        raise TrainingError(
            "Packed rows see one another in this student",
            seen=f"loss {together} together, {alone} each alone",
            rule=f"the same to {TOLERANCE[dtype]}",
            do="set train.attention=masked, or train.pack_tokens and train.batch_rows=1 so that a pack holds one row",
        )
