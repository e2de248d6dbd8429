"""The replica has the form of the published files: names, shapes, sizes, and missing parts."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from export import published, replica
from export.checkpoint import load_folder
from export.replica import SIZES

BLOCK = {
    "attn.qkv.weight": (3, 1),
    "attn.qkv.bias": (3,),
    "attn.proj.weight": (1, 1),
    "attn.proj.bias": (1,),
    "mlp.fc1.weight": (4, 1),
    "mlp.fc1.bias": (4,),
    "mlp.fc2.weight": (1, 4),
    "mlp.fc2.bias": (1,),
    "norm1.weight": (1,),
    "norm1.bias": (1,),
    "norm2.weight": (1,),
    "norm2.bias": (1,),
}
"""The twelve tensors of a block; sizes are multiples of the width."""


def published_tensors(width: int, heads: int) -> dict[str, tuple[int, ...]]:
    """Names and shapes in model.pt of an emotion2vec+ model, as published scripts read them."""
    audio = "d2v_model.modality_encoders.AUDIO."
    groups = [f"d2v_model.blocks.{n}." for n in range(8)]
    groups += [f"{audio}context_encoder.blocks.{n}." for n in range(4)]
    table = {
        group + name: tuple(width * times for times in shape)
        for group in groups
        for name, shape in BLOCK.items()
    }
    table |= {
        "proj.weight": (9, width),
        "proj.bias": (9,),
        f"{audio}alibi_scale": (1, 1, heads, 1, 1),
        f"{audio}extra_tokens": (1, 10, width),
        f"{audio}context_encoder.norm.weight": (width,),
        f"{audio}context_encoder.norm.bias": (width,),
        f"{audio}project_features.1.weight": (512,),
        f"{audio}project_features.1.bias": (512,),
        f"{audio}project_features.2.weight": (width, 512),
        f"{audio}project_features.2.bias": (width,),
    }
    for n, (inputs, kernel) in enumerate([(1, 10), *[(512, 3)] * 4, *[(512, 2)] * 2]):
        layer = f"{audio}local_encoder.conv_layers.{n}."
        table[f"{layer}0.weight"] = (512, inputs, kernel)
        table |= {f"{layer}2.1.weight": (512,), f"{layer}2.1.bias": (512,)}
    for n in range(1, 6):
        layer = f"{audio}relative_positional_encoder.{n}.0."
        table |= {f"{layer}weight": (width, width // 16, 19), f"{layer}bias": (width,)}
    return table


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The full-size replica of emotion2vec_plus_large."""
    target = tmp_path_factory.mktemp("large")
    replica.write_replica(target, SIZES["large"])
    return target


def test_model_pt_is_that_of_the_published_large_model(folder: Path) -> None:
    stored = torch.load(folder / "model.pt", weights_only=True, mmap=True)
    model = stored.pop("model")
    assert {name: tuple(tensor.shape) for name, tensor in model.items()} == published_tensors(
        1024, 16
    )
    assert len(model) == 185
    assert {tensor.dtype for tensor in model.values()} == {torch.float32}
    assert sum(tensor.numel() for tensor in model.values()) == 162_140_185
    assert stored, "the published file holds more than the model"
    size = (folder / "model.pt").stat().st_size
    assert size == pytest.approx(published.LARGE.files["model.pt"].size, rel=1e-4)


def test_the_published_large_model_loads(folder: Path) -> None:
    checkpoint = load_folder(folder)
    assert checkpoint.report[0] == "weights used: 185 tensors, 162,140,185 parameters"
    assert checkpoint.report[1:] == ["weights ignored: 0 tensors", "weights missing: 0"]
    assert checkpoint.files["model.pt"].sha256 != published.LARGE.files["model.pt"].sha256


@pytest.mark.parametrize("size", ["base", "seed"])
def test_base_and_seed_have_the_same_form(size: str) -> None:
    checkpoint = replica.random_checkpoint(size)
    names = replica.stored_members(checkpoint.state)["model"]
    assert {name: tuple(tensor.shape) for name, tensor in names.items()} == published_tensors(
        768, 12
    )
    assert checkpoint.model_conf["modalities"]["audio"]["decoder"]["decoder_layers"] == 4


def test_config_yaml_has_what_inference_never_reads(folder: Path) -> None:
    text = (folder / "config.yaml").read_text("utf-8")
    for line in (
        "model: Emotion2vec",
        "    _name: data2vec_multi",
        "    norm_eps: 1e-05",
        "    average_top_k_layers: 16",
        "    clone_batch: 12",
        "    modalities:\n        _name: null\n        audio:",
        "            decoder:\n                add_positions_all: false",
        "                decoder_dim: 768",
        "            feature_encoder_spec: '[(512, 10, 5)] + [(512, 3, 2)] * 4 + [(512,2,2)] + "
        "[(512,2,2)]'",
        "scope_map:\n- d2v_model.\n- none",
        "tokenizer: CharTokenizer",
        "frontend: WavFrontend",
    ):
        assert f"{line}\n" in f"\n{text}", line


def test_tokens_txt_is_the_published_one_to_the_byte(folder: Path) -> None:
    data = (folder / "tokens.txt").read_bytes()
    assert len(data) == 119
    assert data.startswith("生气/angry\n".encode())
    assert data.endswith("吃惊/surprised\n<unk>".encode())
