"""The configuration for clusters, deployed for real: its builder behind Serve's own proxy, with adapters that share an engine."""

from __future__ import annotations

import importlib
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import yaml
from ray import serve as ray_serve
from waiting import until

from mixray import chat, recipe
from mixray.serving import deploy
from mixray.serving.parity import prove
from mixray.serving.watch import taken_down

KEY = "a-key-for-the-cluster"


@pytest.fixture(scope="module")
def adapted(two_models: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Two students with adapters on one base, as `mixray.training.export` leaves them, and their base."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    base = two_models["tiny.untouched"]
    out = {"untouched": str(base)}
    for seed, name in enumerate(("a", "b"), 1):
        folder = tmp_path_factory.mktemp("adapted") / name
        shutil.copytree(base, folder)
        torch.manual_seed(seed)
        config = LoraConfig(
            r=4, lora_alpha=32, target_modules=["q_proj", "v_proj", "down_proj"], task_type="CAUSAL_LM", init_lora_weights=False
        )
        model = get_peft_model(AutoModelForCausalLM.from_pretrained(base), config)
        model.peft_config["default"].base_model_name_or_path = str(base)
        model.save_pretrained(str(folder / "adapter"))
        model.merge_and_unload().save_pretrained(folder)
        out[name] = str(folder)
    return out


@pytest.fixture(scope="module")
def deployed(ray_cluster: None, adapted: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of what the configuration brings up."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    keys = tmp_path_factory.mktemp("mounted") / "keys"
    keys.write_text(f"anna:{KEY}\n")
    settings = recipe.Serve(
        port=port, adapters="shared", max_model_len=512, kv_cache_bytes=16 * 2**20, replicas=(1, 2), keys_file=str(keys),
    )  # fmt: skip
    told = yaml.safe_load(deploy.as_yaml(adapted, settings))
    (application,) = told["applications"]
    module, _, name = application["import_path"].partition(":")
    built = getattr(importlib.import_module(module), name)(application["args"])
    try:
        ray_serve.start(proxy_location="HeadOnly", http_options=told["http_options"], logging_config=told["logging_config"])
        ray_serve.run(built, name=application["name"], route_prefix=application["route_prefix"])
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        taken_down()


@pytest.mark.e2e
def test_the_configuration_comes_up_behind_serves_proxy_and_its_adapters_answer_as_merged(deployed: str, adapted: dict[str, str]) -> None:
    import torch
    from transformers import AutoModelForCausalLM

    prove(deployed, KEY, adapted)
    status = ray_serve.status().applications["mixray"]
    assert set(status.deployments) == {"gate", "StudentServer:shared-1", "StudentServer:untouched"}
    with httpx.Client(headers={"authorization": f"Bearer {KEY}"}, timeout=60) as client:
        root = deployed.removesuffix("/v1")
        assert httpx.get(f"{deployed}/models").status_code == 401
        # Who does not answer within two seconds does not count.
        assert until(lambda: client.get(f"{root}/ready").json() == {"status": "ready", "students": 3, "answering": 3}, 60)
        assert {card["id"] for card in client.get(f"{deployed}/models").json()["data"]} == set(adapted)
        told = {}
        for name, source in adapted.items():
            body = {"model": name, "messages": chat.ask("How much?"), "max_tokens": 12, "temperature": 0, "return_token_ids": True}
            answer = client.post(f"{deployed}/chat/completions", json={**body, "ignore_eos": True}, headers={"x-request-id": "one"})
            assert answer.status_code == 200, answer.text
            assert answer.headers.get_list("x-request-id") == ["one"]
            told[name] = answer.json()["choices"][0]["token_ids"]
            ids = torch.tensor([chat.prompt_ids(chat.load_tokenizer(source), chat.ask("How much?"))])
            model = AutoModelForCausalLM.from_pretrained(source)
            alone = model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=12, min_new_tokens=12, do_sample=False)
            assert told[name] == alone[0, ids.shape[1] :].tolist()
        assert len({tuple(ids) for ids in told.values()}) == 3
        assert client.post(f"{deployed}/chat/completions", json={**body, "model": "shared-1"}).status_code == 404
        with client.stream("POST", f"{deployed}/chat/completions", json={**body, "stream": True}) as stream:
            assert list(stream.iter_lines())[-2] == "data: [DONE]"
