"""Whatever stands in a gold or an answer ends in a verdict: nothing of it is run, nothing hangs, and the children go on."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from mixray.verify import judge, verify
from mixray.verify.extract import gold_answer
from mixray.verify.pool import Pool, shared_pool

PORT = 18161  # what the corpus tries to listen on; below what the system gives to whoever wants any
PLAIN = (r"\frac{\sqrt2}{2}", r"\frac{1}{\sqrt2}")
ENDS = {"right", "wrong", "unknown"}


def corpus(canary: Path) -> list[str]:
    """The hostile texts: a line is a JSON string, or a list of [piece, times] to be put together."""
    lines = Path(__file__).with_name("hostile.txt").read_text(encoding="utf-8").splitlines()
    entries = [json.loads(line) for line in lines if not line.startswith("# ")]
    texts = [entry if isinstance(entry, str) else "".join(piece * times for piece, times in entry) for entry in entries]
    return [text.replace("CANARY", str(canary)) for text in texts]


@pytest.fixture
def canary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A file that a payload would make, also by name alone in the working folder; afterwards nothing was made, listens or runs."""
    folder = tmp_path / "nowhere"
    folder.mkdir()
    monkeypatch.chdir(folder)
    yield folder / "canary"
    assert list(folder.iterdir()) == []
    ours = [process for process in psutil.Process().children(recursive=True) if "mixray.verify.child" in title(process)]
    assert all(len(process.children()) <= 1 for process in ours)
    listening = [each.laddr.port for each in psutil.net_connections("tcp") if each.status == psutil.CONN_LISTEN]
    assert PORT not in listening
    assert not [
        process for each in ours for process in each.children(recursive=True) if title(process).startswith(("sleep", "sh", "touch"))
    ]
    assert shared_pool().compare([PLAIN])[0].verdict == "right"


def title(process: psutil.Process) -> str:
    """Return a process's command; empty where it has just ended, as those of others do that run beside."""
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""


def test_the_corpus_is_large(tmp_path: Path) -> None:
    texts = corpus(tmp_path)
    assert len(texts) == len(set(texts)) >= 200
    assert sum(str(tmp_path) in text for text in texts) >= 40


def test_hostile_golds_and_answers_end_in_a_verdict(canary: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    texts = corpus(canary)
    impatient = Pool(cpu_seconds=0.2)
    monkeypatch.setattr(judge, "shared_pool", lambda: impatient)
    began = time.monotonic()
    boxed = [f"\\boxed{{{text}}}" for text in texts]
    as_answer = verify([*boxed, *texts], ["3"] * 2 * len(texts), unboxed=True)
    as_gold = verify([r"\boxed{\frac{x}{2}}"] * len(texts), texts)
    as_both = verify(boxed, [f"{text}+1" for text in texts])
    assert {verdict.verdict for verdict in (*as_answer, *as_gold, *as_both)} <= ENDS
    assert time.monotonic() - began < 400
    assert impatient.compare([PLAIN])[0].verdict == "right"
    impatient.close()
    assert not [text for text, verdict in zip(texts, as_gold, strict=True) if verdict.verdict == "right"]


def test_hostile_texts_end_in_an_opinion_of_the_library_too(canary: Path) -> None:
    texts = [text for text in corpus(canary) if len(text) < 600]
    pool = Pool(num_children=2, cpu_seconds=0.1)
    began = time.monotonic()
    opinions = pool.compare(
        [(gold_answer(text), r"\boxed{3}") for text in texts] + [("3", f"\\boxed{{{text}}}") for text in texts], "library"
    )
    assert {opinion.verdict for opinion in opinions} <= ENDS
    assert time.monotonic() - began < 400
    assert pool.compare([PLAIN])[0].verdict == "right"
    pool.close()


@pytest.mark.parametrize("how", ["compare", "library"])
def test_payloads_are_never_right_and_what_the_fence_refused_is_unknown(canary: Path, how: str) -> None:
    payloads = [text for text in corpus(canary) if re.search(r"import|open|system", text)]
    opinions = shared_pool().compare([("3", f"\\boxed{{{text}}}" if how == "library" else text) for text in payloads], how)
    assert [text for text, opinion in zip(payloads, opinions, strict=True) if opinion.verdict == "right"] == []
