from __future__ import annotations

from pathlib import Path

from mixray.chat import encode, load_tokenizer, prompt_ids
from mixray.tiny.problems import take
from mixray.tiny.styles import write
from mixray.tiny.tokenizer import END, PAD, VOCABULARY_SIZE, save_tokenizer


def test_the_tokenizer_folder_is_what_training_serving_and_asking_need(tmp_path: Path) -> None:
    save_tokenizer(tmp_path)
    assert not list(tmp_path.glob("*.py"))
    tokenizer = load_tokenizer(tmp_path)
    assert len(tokenizer) == VOCABULARY_SIZE
    assert (tokenizer.eos_token, tokenizer.pad_token) == (END, PAD)
    for problem in take("train", 50, (1, 5), 1):
        messages = [{"role": "user", "content": problem.question}, {"role": "assistant", "content": write("long", problem)}]
        encoded = encode(tokenizer, messages)
        prompt = prompt_ids(tokenizer, messages[:1])
        assert encoded.ids[: len(prompt)] == prompt
        assert encoded.ids[-1] == tokenizer.eos_token_id
        assert tokenizer.decode(encoded.ids[len(prompt) : -1]) == messages[1]["content"]


def test_digits_are_single_tokens_and_any_text_survives(tmp_path: Path) -> None:
    tokenizer = save_tokenizer(tmp_path)
    assert tokenizer.tokenize("12-3=9") == ["1", "2", "-", "3", "=", "9"]
    for text in ("naïve – 數學 🙂\t  x", "100 apples\n\n", "\\boxed{7}"):
        assert tokenizer.decode(tokenizer(text).input_ids) == text


def test_the_same_tokenizer_comes_out_each_time(tmp_path: Path) -> None:
    for name in ("one", "two"):
        save_tokenizer(tmp_path / name)
    files = sorted(path.name for path in (tmp_path / "one").iterdir())
    assert {"tokenizer.json", "tokenizer_config.json"} <= set(files)
    assert all((tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes() for name in files)
