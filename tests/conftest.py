"""One Ray cluster and one small model for the whole session: starting them per test would cost more than the tests."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import fsspec
import pytest
from hub import Hub, serving
from hypothesis import settings
from real_gcs import serving_gcs
from real_s3 import ENVIRONMENT, serving_s3

from mixray.progress import Display, StageProgress
from mixray.rows import keyed_draw
from mixray.session import ray_session
from mixray.store import Store

# A busy machine is slow at times: no property is about seconds. A property that fails does so for everybody, in every run;
# `--hypothesis-seed` looks elsewhere.
settings.register_profile("mixray", deadline=None, derandomize=True)
settings.load_profile("mixray")

# Ray reads it when it is imported, by whichever test comes first: every cluster of the tests listens on loopback alone.
os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"


@pytest.fixture(scope="session")
def ray_cluster() -> Iterator[None]:
    """A private local Ray cluster, shared by every test that asks for it."""
    with ray_session():
        yield


@pytest.fixture(scope="session")
def random_student(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The folder of a real, untrained Qwen2 of two layers with the tiny world's tokenizer."""
    import torch
    from transformers import Qwen2Config, Qwen2ForCausalLM

    from mixray.tiny.tokenizer import save_tokenizer

    folder: Path = tmp_path_factory.mktemp("random-student")
    tokenizer = save_tokenizer(folder)
    torch.manual_seed(0)
    config = Qwen2Config(
        vocab_size=len(tokenizer),
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=2,
        max_position_embeddings=512,
        tie_word_embeddings=True,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=None,
    )
    Qwen2ForCausalLM(config).save_pretrained(folder)
    return str(folder)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """An empty local store."""
    return Store(str(tmp_path / "runs"))


@pytest.fixture
def quiet() -> StageProgress:
    """A progress line nobody sees."""
    return Display(quiet=True).stage("test")


@pytest.fixture(scope="session")
def s3_server() -> Iterator[str]:
    """The address of an S3 server of our own."""
    with serving_s3() as url:
        yield url


@pytest.fixture
def s3_store(s3_server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    """An empty store on it; processes started by the test find it by their environment."""
    for key, value in ENVIRONMENT.items():
        monkeypatch.setenv(key, value)
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3_server)
    bucket = f"mixray-{keyed_draw(str(tmp_path))}"
    fsspec.filesystem("s3", skip_instance_cache=True).mkdir(bucket)
    return Store(f"s3://{bucket}/runs")


@pytest.fixture(scope="session")
def gcs_server() -> Iterator[str]:
    """The address of a server of our own that speaks Google Cloud Storage."""
    with serving_gcs() as url:
        yield url


@pytest.fixture
def gcs_store(gcs_server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    """An empty store on it; processes started by the test find it by their environment."""
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", gcs_server)
    monkeypatch.setenv("GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT", "false")  # it asks Google's own servers what kind of bucket it is
    bucket = f"mixray-{keyed_draw(str(tmp_path))}"
    fsspec.filesystem("gs", skip_instance_cache=True).mkdir(bucket)
    return Store(f"gs://{bucket}/runs")


@pytest.fixture(params=["s3", "gcs"])
def object_store(request: pytest.FixtureRequest) -> Store:
    """An empty store on each kind of bucket."""
    return request.getfixturevalue(f"{request.param}_store")


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """An empty hub on loopback that this process takes for the Hugging Face hub."""
    with serving() as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        monkeypatch.setenv("HF_TOKEN", hub.token)
        yield hub
