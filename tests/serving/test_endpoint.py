"""What stops an endpoint before anything heavy starts, and the parity proof against a server that misbehaves on cue."""

from __future__ import annotations

import json
import shutil
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI, Request
from loopback import serving

from mixray import chat
from mixray.errors import MixrayError, ServingError
from mixray.recipe import Serve
from mixray.serving import Endpoint, serve_students
from mixray.serving.endpoint import reason_in
from mixray.serving.parity import prove


def test_an_occupied_port_is_told_before_ray_is_needed(two_models: dict[str, Path]) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(ServingError, match=f"127.0.0.1:{port}.*in use.*port") as caught, serve_students(two_models, Serve(port=port)):
            pytest.fail("an endpoint came up on a port that was taken")
    assert "ray" not in str(caught.value).lower()


def test_a_missing_and_an_unsafe_model_are_told_before_ray_is_needed(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "modeling.py").write_text("print('hello')")
    for model, message in ((tmp_path / "nowhere", "A model is missing"), (tmp_path, "holds code or pickles")):
        with pytest.raises(MixrayError, match=message), serve_students({"arm": model}, Serve(port=0)):
            pytest.fail("an endpoint came up without a model")


def test_the_key_is_not_in_the_endpoints_repr() -> None:
    assert "s3cret" not in repr(Endpoint("http://127.0.0.1:1/v1", "s3cret", ("a",)))


def served(source: str, change: Callable[[list[int]], list[int] | None]) -> FastAPI:
    """Return a server that tells the tokens of what it is asked, changed."""
    app, tokenizer = FastAPI(), chat.load_tokenizer(source)

    @app.post("/chat/completions")
    async def answer(request: Request) -> dict[str, Any]:
        return {"choices": [], "prompt_token_ids": change(chat.prompt_ids(tokenizer, (await request.json())["messages"]))}

    return app


def test_parity_holds_for_the_students_own_prompts_and_for_no_others(two_models: dict[str, Path]) -> None:
    source = str(two_models["tiny.short"])
    with serving(served(source, lambda ids: ids)) as url:
        prove(url, "key", {"arm": source}, {"student_prompt": "Question: {question}"})
    with serving(served(source, lambda ids: ids[:9] + ids[10:])) as url, pytest.raises(ServingError, match="not asked what") as caught:
        prove(url, "key", {"arm": source})
    assert "arm is served" in str(caught.value.seen)
    assert "Ana has 12" in str(caught.value.seen)
    assert "around token 9 of" in str(caught.value.seen)
    assert "Anna has 1" in str(caught.value.rule)
    with serving(served(source, lambda ids: None)) as url, pytest.raises(ServingError, match=r"does not answer as it should.*logs/serve"):
        prove(url, "key", {"arm": source})


def test_a_student_whose_template_changed_after_training_is_found_out(two_models: dict[str, Path], tmp_path: Path) -> None:
    source = tmp_path / "student"
    shutil.copytree(two_models["tiny.short"], source)
    trained = chat.trained_probes(chat.load_tokenizer(source))
    assert set(trained) == {"question", "system", "turns"}
    (source / chat.PROBE_FILE).write_text(json.dumps(trained))
    template = source / "chat_template.jinja"
    with serving(served(str(source), lambda ids: ids)) as url:
        prove(url, "key", {"arm": str(source)})
    template.write_text("You are helpful.\n" + template.read_text())
    with serving(served(str(source), lambda ids: ids)) as url, pytest.raises(ServingError, match="not asked what") as caught:
        prove(url, "key", {"arm": str(source)})
    assert "would be asked 'You are" in str(caught.value.seen)
    assert "around token 0 of" in str(caught.value.seen)
    assert "it was trained on '<|im_start|>user" in str(caught.value.rule)


def test_of_a_traceback_the_user_is_told_the_last_error_in_one_line() -> None:
    message = """The deployment failed to start 1 times in a row. Error:
ray::ServeReplica:mixray:StudentServer:a.initialize_and_get_metadata() (pid=1, ip=127.0.0.1)
  File "core.py", line 1, in live
ValueError: first
The above exception was the direct cause of the following exception:
  File "vllm_engine.py", line 2, in start
RuntimeError: Failed to create the configuration: 1 validation error
  Value error, the weights are torn [type=value_error]
    For further information visit https://errors.pydantic.dev/2.14/v/value_error
"""
    assert (
        reason_in(message)
        == "RuntimeError: Failed to create the configuration: 1 validation error Value error, the weights are torn [type=value_error]"
    )
    assert reason_in("it waits for resources") == "it waits for resources"
    assert reason_in("") == "no reason given"
