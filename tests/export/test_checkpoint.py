"""Good and bad checkpoint folders, loaded by the code that loads the real one."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch

from export.__main__ import main
from export.checkpoint import check_architecture, load_folder
from export.errors import ExportError
from export.published import TOKENS, TOKENS_TEXT
from tests.conftest import WriteCheckpoint

OLD_TOKENS = (
    "生气/angry\nunuse_0\nunuse_1\n开心/happy\n中立/neutral\nunuse_2\n难过/sad\nunuse_3\n<unk>\n"
)
"""The exact tokens.txt of the first revisions."""


def test_loads_the_published_form_and_reports_what_it_used(tiny_checkpoint: Path) -> None:
    checkpoint = load_folder(tiny_checkpoint)
    model = checkpoint.build()
    assert not model.training
    stored = torch.load(tiny_checkpoint / "model.pt", weights_only=True)["model"]
    assert not [name for name in stored if "decoder" in name]
    audio = checkpoint.model_conf["modalities"]["audio"]
    assert audio["decoder"]["decoder_layers"] == 4
    assert model.modality_encoders["AUDIO"].decoder is None
    key = "modality_encoders.AUDIO.extra_tokens"
    torch.testing.assert_close(model.state_dict()[key], stored[f"d2v_model.{key}"])
    used = len(model.state_dict())
    assert len(stored) == used
    assert checkpoint.report[0].startswith(f"weights used: {used} tensors")
    assert checkpoint.label_order() == list(range(9))


def test_tensors_that_the_model_has_not_are_ignored_and_counted(
    write_checkpoint: WriteCheckpoint,
) -> None:
    def add(state: dict) -> None:
        state["d2v_model.modality_encoders.AUDIO.decoder.proj.bias"] = torch.zeros(64)
        state["_ema.blocks.0.norm1.bias"] = torch.zeros(64)

    checkpoint = load_folder(write_checkpoint(change_state=add))
    assert checkpoint.report[1] == "weights ignored: 2 tensors (_ema, d2v_model)"


def test_old_labels_are_refused_with_the_revision_to_take(
    write_checkpoint: WriteCheckpoint,
) -> None:
    assert len(OLD_TOKENS.encode()) == 90
    with pytest.raises(ExportError, match=r"unuse_0.*--revision 767b2e00.*--hub modelscope"):
        load_folder(write_checkpoint(tokens=OLD_TOKENS))


def test_other_labels_are_refused(write_checkpoint: WriteCheckpoint) -> None:
    with pytest.raises(ExportError, match="bored"):
        load_folder(write_checkpoint(tokens="无聊/bored\n生气/angry\n<unk>"))


@pytest.mark.parametrize(
    "tokens",
    [
        TOKENS_TEXT + "\n",
        TOKENS_TEXT.replace("\n", "\r\n"),
        "\ufeff" + TOKENS_TEXT,
    ],
    ids=["line end", "CRLF", "byte order mark"],
)
def test_tokens_txt_is_read_however_an_editor_left_it(
    write_checkpoint: WriteCheckpoint, tokens: str
) -> None:
    assert load_folder(write_checkpoint(tokens=tokens)).tokens == list(TOKENS)


def test_config_yaml_is_read_with_a_byte_order_mark_and_crlf(
    write_checkpoint: WriteCheckpoint,
) -> None:
    folder = write_checkpoint()
    expected = load_folder(folder).model_conf
    text = (folder / "config.yaml").read_text("utf-8").replace("\n", "\r\n")
    (folder / "config.yaml").write_bytes(b"\xef\xbb\xbf" + text.encode())
    assert load_folder(folder).model_conf == expected


def test_each_missing_weight_is_fatal(write_checkpoint: WriteCheckpoint) -> None:
    folder = write_checkpoint(change_members=lambda members: members.pop("last_optimizer_state"))
    stored = torch.load(folder / "model.pt", weights_only=True)
    # One weight of each kind: blocks and layers differ only in their number.
    kinds = {re.sub(r"\d+", "n", name): name for name in stored["model"]}
    assert len(kinds) > 20
    for name in kinds.values():
        others = {key: tensor for key, tensor in stored["model"].items() if key != name}
        torch.save({**stored, "model": others}, folder / "model.pt")
        own = re.escape(name.removeprefix("d2v_model."))
        with pytest.raises(ExportError, match=f"does not fit config.yaml: {own} is missing$"):
            load_folder(folder)


def test_a_wrong_prefix_is_fatal(write_checkpoint: WriteCheckpoint) -> None:
    def rename(state: dict) -> None:
        for name in [name for name in state if name.startswith("d2v_model.")]:
            state["other." + name.removeprefix("d2v_model.")] = state.pop(name)

    with pytest.raises(ExportError, match=r"extra_tokens is missing"):
        load_folder(write_checkpoint(change_state=rename))


def test_the_prefix_is_that_of_scope_map(write_checkpoint: WriteCheckpoint) -> None:
    def rename(state: dict) -> None:
        for name in [name for name in state if name.startswith("d2v_model.")]:
            state["other." + name.removeprefix("d2v_model.")] = state.pop(name)

    def scope(config: dict) -> None:
        config["scope_map"] = ["other.", None]

    folder = write_checkpoint(change_state=rename, change_config=scope)
    assert load_folder(folder).report[2] == "weights missing: 0"


def test_a_weight_of_another_shape_is_fatal(write_checkpoint: WriteCheckpoint) -> None:
    def shorten(state: dict) -> None:
        state["proj.weight"] = state["proj.weight"][:5]

    with pytest.raises(ExportError, match=r"proj\.weight has shape \(5, 64\) instead of \(9, 64\)"):
        load_folder(write_checkpoint(change_state=shorten))


@pytest.mark.parametrize("name", ["config.yaml", "tokens.txt", "model.pt"])
def test_a_missing_file_is_named(write_checkpoint: WriteCheckpoint, name: str) -> None:
    folder = write_checkpoint()
    (folder / name).unlink()
    with pytest.raises(ExportError, match=f"has no {name}"):
        load_folder(folder)


def test_pickled_code_is_not_run(write_checkpoint: WriteCheckpoint, tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple[object, ...]:
            return (Path.touch, (tmp_path / "owned",))

    folder = write_checkpoint()
    torch.save({"model": Evil()}, folder / "model.pt")
    with pytest.raises(ExportError, match="cannot read"):
        load_folder(folder)
    assert not (tmp_path / "owned").exists()


def test_code_in_the_frontend_spec_is_not_run(
    write_checkpoint: WriteCheckpoint, tmp_path: Path
) -> None:
    """FunASR evaluates this text."""

    def inject(config: dict) -> None:
        audio = config["model_conf"]["modalities"]["audio"]
        audio["feature_encoder_spec"] = f"open({str(tmp_path / 'owned')!r}, 'w') or [(1, 1, 1)]"

    with pytest.raises(ExportError, match="not a list of number triples"):
        load_folder(write_checkpoint(change_config=inject))
    assert not (tmp_path / "owned").exists()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("num_extra_tokens", 8),
        ("extractor_mode", "default"),
        ("learned_alibi", True),
        ("conv_pos_width", 200),
        ("feature_encoder_spec", "[(16, 10, 5)] + [(16, 3, 2)] * 4"),
    ],
)
def test_an_architecture_that_would_give_other_numbers_is_refused(
    write_checkpoint: WriteCheckpoint, name: str, value: object
) -> None:
    def change(config: dict) -> None:
        config["model_conf"]["modalities"]["audio"][name] = value

    with pytest.raises(ExportError, match=name):
        load_folder(write_checkpoint(change_config=change))


def test_a_config_of_another_model_is_refused() -> None:
    with pytest.raises(ExportError, match="modalities"):
        check_architecture({"encoder": "sanm"})


def test_errors_reach_the_command_line_as_one_sentence(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "model_repository").mkdir()
    arguments = ["--model-repository", str(tmp_path / "model_repository")]
    assert main(["--checkpoint", str(tmp_path), *arguments]) == 1
    assert "has no config.yaml" in capsys.readouterr().err
    assert main(["--checkpoint", "random:huge", *arguments]) == 1
    assert "large, base, seed" in capsys.readouterr().err
