"""A mixture as tokens: what a student's chat template makes of each example, once per mixture and tokenizer.

In: an artefact of kind `mixtures` and a student's tokenizer. Out: an artefact of kind `tokens`: `ids.bin`, the tokens of all rows on end
(int32, little-endian), and `rows.parquet` (ROWS), a row's counts. Workers map the file into memory: a rank reads its rows and no others.
Where the recipe cuts what is too long (`train.too_long`, a control), rows end at the limit, and one more column, LOST, says what they lost.
What survives a kill: nothing unfinished; the next run tokenises from the start.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from mixray.errors import TrainingError
from mixray.models import tokenizer_fingerprint
from mixray.progress import StageProgress
from mixray.ray_data import data_context, own_error
from mixray.store import Artefact, Store

RULE = 1
"""Goes up when the same examples would be tokenised otherwise."""
IDS, ROWS_FILE = "ids.bin", "rows.parquet"
ROWS = pa.schema([("problem_id", pa.string()), ("num_tokens", pa.int32()), ("num_loss_tokens", pa.int32())])
LOST = "num_cut_tokens"
BLOCK_ROWS = 512


def handle(store: Store, mixture: Artefact, source: str, cut_to: int | None = None) -> Artefact:
    """Return the artefact of a mixture's tokens, done or not; students that share a tokenizer share it."""
    settings: dict[str, Any] = {"rule": RULE, "tokenizer": tokenizer_fingerprint(source)}
    if cut_to is not None:
        settings["cut_to"] = cut_to
    return store.artefact("tokens", mixture.name, settings, {"mixture": mixture})


def run(store: Store, mixture: Artefact, source: str, progress: StageProgress, cut_to: int | None = None) -> Artefact:
    """Tokenise a mixture under Ray Data, in its order, or find it done. Ray must be up.

    Args:
        store: where artefacts lie.
        mixture: what is tokenised.
        source: folder or hub id of the tokenizer.
        progress: the stage's line on the terminal.
        cut_to: tokens that longer rows are cut to; whole where None.

    Raises:
        TrainingError: the template cannot be trained (see `chat.encode`), or the mixture holds no row.
    """
    tokens = handle(store, mixture, source, cut_to)
    with tokens.lock():
        if tokens.is_done():
            return tokens
        mixture.verify()
        num_rows, counts, schema = 0, [], rows_schema(cut_to)
        with tokens.staging() as staging, (staging.folder / IDS).open("wb") as file:
            for block in _blocks(mixture, source, cut_to):
                file.write(block["ids"].combine_chunks().values.to_numpy().astype("<i4").tobytes())
                counts.append(block.select(schema.names).cast(schema))
                num_rows += block.num_rows
                progress.update(num_rows, mixture.outcome.get("num_rows"), doing="tokens")
            if not num_rows:
                raise TrainingError("A mixture holds no row", seen=mixture.label, do="see what `mixray mixture show` says it left out")
            table = pa.concat_tables(counts)
            staging.write_table(ROWS_FILE, table)
            file.flush()
            staging.outcome = {
                "num_rows": num_rows,
                **{name: int(np.sum(table[name].to_numpy())) for name in ("num_tokens", "num_loss_tokens")},
                **(_lost(table) if cut_to is not None else {}),
            }
    return tokens


def rows_schema(cut_to: int | None) -> pa.Schema:
    """Return the columns that count a row: ROWS, with LOST where rows may be cut."""
    return ROWS if cut_to is None else ROWS.append(pa.field(LOST, pa.int32()))


def _lost(rows: pa.Table) -> dict[str, int]:
    lost = rows[LOST].to_numpy()
    return {"num_cut_rows": int(np.count_nonzero(lost)), LOST: int(np.sum(lost))}


def _blocks(mixture: Artefact, source: str, cut_to: int | None) -> Iterator[pa.Table]:
    import ray
    from ray.data import DataContext
    from ray.exceptions import RayError

    paths = sorted(f"{mixture.path}/{entry['path']}" for entry in mixture.manifest()["files"] if entry["path"].endswith(".parquet"))
    context = data_context(max(1, int(ray.cluster_resources().get("CPU", 1)) // 2))
    context.execution_options.preserve_order = True
    try:
        with DataContext.current(context):
            yield from (
                ray.data.read_parquet(paths, columns=["messages", "problem_id"], filesystem=mixture.store.arrow_fs)
                .repartition(target_num_rows_per_block=BLOCK_ROWS)
                .map_batches(tokenise, batch_size=None, batch_format="pyarrow", fn_kwargs={"source": source, "cut_to": cut_to})
                .iter_batches(batch_size=None, batch_format="pyarrow")
            )
    except RayError as error:
        own = own_error(error)
        if own is not None:
            raise own from error
        raise TrainingError("A mixture could not be tokenised", seen=str(error).strip().splitlines()[-1], rule=mixture.label) from error


def tokenise(block: pa.Table, source: str, cut_to: int | None = None) -> pa.Table:
    """Return ids and the columns of `rows_schema` of a block of examples, longer ones cut to so many tokens."""
    from mixray.chat import cut, encode

    whole = [encode(_tokenizer(source), messages) for messages in block["messages"].to_pylist()]
    encoded = whole if cut_to is None else [cut(row, cut_to) for row in whole]
    columns = {
        "ids": pa.array([row.ids for row in encoded], pa.list_(pa.int32())),
        "problem_id": block["problem_id"],
        "num_tokens": pa.array([len(row.ids) for row in encoded], pa.int32()),
        "num_loss_tokens": pa.array([row.num_loss_tokens for row in encoded], pa.int32()),
    }
    if cut_to is not None:
        columns[LOST] = pa.array([len(row.ids) - len(left.ids) for row, left in zip(whole, encoded, strict=True)], pa.int32())
    return pa.table(columns)


@functools.lru_cache(maxsize=4)
def _tokenizer(source: str) -> Any:
    """Return a tokenizer, loaded once in a process that Ray uses again and again."""
    from mixray.chat import load_tokenizer

    return load_tokenizer(source)


@dataclass(frozen=True)
class TokenRow:
    """One training example: its tokens, of which the last `num_loss_tokens` are trained; `num_cut_tokens` more were cut off its end."""

    ids: NDArray[np.int32]
    num_loss_tokens: int
    num_cut_tokens: int = 0


@dataclass(frozen=True)
class TokenRows:
    """All examples of a mixture, mapped into memory: a row is read when it is wanted."""

    ids: NDArray[np.int32]
    ends: NDArray[np.int64]
    num_loss_tokens: NDArray[np.int32]
    num_cut_tokens: NDArray[np.int32]
    problem_ids: pa.ChunkedArray

    @classmethod
    def open(cls, artefact: Artefact) -> TokenRows:
        """Open an artefact of kind `tokens`, verified; a remote one is copied to this machine first."""
        folder = artefact.local_folder()
        return cls.of_file(folder / IDS, pq.read_table(folder / ROWS_FILE))

    @classmethod
    def of_file(cls, ids: Path, rows: pa.Table) -> TokenRows:
        """Map a file of tokens whose rows are counted in a table of `rows_schema`."""
        ends = np.cumsum(rows["num_tokens"].to_numpy(), dtype=np.int64)
        lost = rows[LOST].to_numpy() if LOST in rows.column_names else np.zeros(rows.num_rows, np.int32)
        return cls(np.memmap(ids, dtype="<i4", mode="r"), ends, rows["num_loss_tokens"].to_numpy(), lost, rows["problem_id"])

    @classmethod
    def of(cls, rows: list[TokenRow], problem_ids: list[str] | None = None) -> TokenRows:
        """Return rows at hand as if they had been read."""
        lengths = [len(row.ids) for row in rows]
        ids = np.array(list(itertools.chain.from_iterable(row.ids for row in rows)), dtype=np.int32)
        names = problem_ids or [str(number) for number in range(len(rows))]
        trained, lost = (np.array([getattr(row, name) for row in rows], np.int32) for name in ("num_loss_tokens", "num_cut_tokens"))
        return cls(ids, np.cumsum(lengths, dtype=np.int64), trained, lost, pa.chunked_array([names]))

    def __len__(self) -> int:
        return len(self.ends)

    def __getitem__(self, row: int) -> TokenRow:
        return TokenRow(self.ids[self.start(row) : self.ends[row]], int(self.num_loss_tokens[row]), int(self.num_cut_tokens[row]))

    def start(self, row: int) -> int:
        """Return where a row's tokens begin."""
        return int(self.ends[row - 1]) if row else 0

    def length(self, row: int) -> int:
        """Return the number of a row's tokens."""
        return int(self.ends[row]) - self.start(row)
