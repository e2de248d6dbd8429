"""Labelled recordings in the forms that other projects publish."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from emotion2vec_client.analysis import AnalysisError
from emotion2vec_client.analysis.corpora import as_nine, read_corpus, read_label_map

# The first entries of EmoBox's data/*/fold_1/*_test_fold_1.jsonl, and their label_map.json.
EMODB = """\
{"key": "emodb-03a02Wb", "dataset": "emodb", "wav": "downloads/emodb/wav/03a02Wb.wav", \
"type": "raw", "sample_rate": 16000, "num_frame": 33978.0, "task": "category", \
"length": 2.123625, "emo": "anger", "channel": 1}
{"key": "emodb-08a01Na", "dataset": "emodb", "wav": "downloads/emodb/wav/08a01Lb.wav", \
"type": "raw", "sample_rate": 16000, "num_frame": 23969.0, "task": "category", \
"length": 1.4980625, "emo": "boredem", "channel": 1}
"""
EMODB_MAP = {
    "anger": "Angry", "boredem": "Boredom", "disgust": "Disgust", "fear": "Fear", "happy": "Happy",
    "Neutral": "Neutral", "sad": "Sad",
}  # fmt: skip
IEMOCAP = """\
{"key": "iemocap-Ses01F_impro04_F000", "dataset": "iemocap", "wav": \
"downloads/iemocap/Session1/sentences/wav/Ses01F_impro04/Ses01F_impro04_F000.wav", "type": "raw", \
"sample_rate": 16000, "num_frame": 70312.0, "task": "category", "length": 4.3945, "emo": "neu", \
"channel": 1}
{"key": "iemocap-Ses01F_impro04_F001", "dataset": "iemocap", "wav": \
"downloads/iemocap/Session1/sentences/wav/Ses01F_impro04/Ses01F_impro04_F001.wav", "type": "raw", \
"sample_rate": 16000, "num_frame": 70482.0, "task": "category", "length": 4.405125, "emo": "exc", \
"channel": 1}
"""
IEMOCAP_MAP = {"neu": "Neutral", "hap": "Happy", "ang": "Angry", "sad": "Sad", "exc": "Happy"}
RAVDESS = """\
{"key": "ravdess-03-01-07-02-02-02-11", "dataset": "ravdess", "wav": \
"downloads/ravdess/audio/Audio_Speech_Actors_01-24/Actor_11/03-01-07-02-02-02-11.wav", "type": \
"raw", "sample_rate": 48000, "num_frame": 179379.0, "task": "category", "length": 3.7370625, \
"emo": "Disgust", "channel": 1}
{"key": "ravdess-03-01-06-01-02-01-12", "dataset": "ravdess", "wav": \
"downloads/ravdess/audio/Audio_Speech_Actors_01-24/Actor_12/03-01-06-01-02-01-12.wav", "type": \
"raw", "sample_rate": 48000, "num_frame": 152152.0, "task": "category", "length": 3.17, "emo": \
"Fearful", "channel": 1}
"""


@pytest.mark.parametrize(
    ("name", "manifest", "label_map", "labels", "groups"),
    [
        ("emodb", EMODB, None, ["angry", "other"], ["03", "08"]),
        ("iemocap", IEMOCAP, IEMOCAP_MAP, ["neutral", "happy"], [None, None]),
        ("ravdess", RAVDESS, None, ["disgusted", "fearful"], ["11", "12"]),
    ],
)
def test_an_emobox_manifest_is_read_as_published(
    name: str,
    manifest: str,
    label_map: dict[str, str] | None,
    labels: list[str],
    groups: list[str | None],
    tmp_path: Path,
) -> None:
    path = tmp_path / "data" / name / "fold_1" / f"{name}_test_fold_1.jsonl"
    path.parent.mkdir(parents=True)
    path.write_text(manifest)
    wavs = [tmp_path / json.loads(line)["wav"] for line in manifest.splitlines()]
    for wav in wavs:
        wav.parent.mkdir(parents=True, exist_ok=True)
        wav.touch()
    rows = read_corpus(path, label_map)
    meanings = as_nine(rows)
    assert [row.path for row in rows] == wavs
    assert [meanings[row.label] for row in rows] == labels
    assert [row.group for row in rows] == groups


def test_a_label_map_renames_and_leaves_out(tmp_path: Path) -> None:
    path = tmp_path / "emodb.jsonl"
    path.write_text(EMODB)
    (tmp_path / "map.json").write_text(json.dumps({"anger": "mad"}))
    [row] = read_corpus(path, read_label_map(tmp_path / "map.json"))
    assert row.label == "mad"
    with pytest.raises(AnalysisError, match=r"has none of the labels of .*'anger', 'boredem'"):
        read_corpus(path, {"joy": "happy"})


def test_emobox_own_names_of_labels_are_known(tmp_path: Path) -> None:
    path = tmp_path / "emodb.jsonl"
    path.write_text(EMODB)
    assert as_nine(read_corpus(path, EMODB_MAP)) == {"Angry": "angry", "Boredom": "other"}


@pytest.mark.parametrize(
    ("files", "rows"),
    [
        (["03a01Fa.wav", "16b10Td.flac"], [("happiness", "03"), ("sadness", "16")]),
        (
            ["Actor_01/03-01-02-01-01-01-01.wav", "Actor_24/03-01-08-02-02-02-24.wav"],
            [("calm", "01"), ("surprised", "24")],
        ),
        (["angry/1.wav", "happy/new/1.mp3"], [("angry", None), ("happy", None)]),
    ],
)
def test_a_folder_says_the_labels(
    files: list[str], rows: list[tuple[str, str | None]], tmp_path: Path
) -> None:
    for name in files:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "README.txt").touch()
    # macOS leaves such a file beside each on other systems' disks.
    (tmp_path / files[0]).with_name("._hidden.wav").touch()
    found = read_corpus(tmp_path)
    assert [row.path for row in found] == [tmp_path / name for name in files]
    assert [(row.label, row.group) for row in found] == rows


def test_a_speaker_of_zero_is_one_and_a_mark_of_the_encoding_is_none(tmp_path: Path) -> None:
    lines = [{"wav": f"{n}.wav", "emo": "sad\u2028", "speaker": n} for n in (0, 1)]
    text = "\n".join(json.dumps(line, ensure_ascii=False) for line in lines)
    (tmp_path / "m.jsonl").write_text(text, encoding="utf-8-sig")
    found = read_corpus(tmp_path / "m.jsonl")
    assert [(row.label, row.group) for row in found] == [("sad\u2028", "0"), ("sad\u2028", "1")]


def test_a_csv_is_read_as_for_heads(tmp_path: Path) -> None:
    (tmp_path / "labels.csv").write_text("file,label,speaker\na.wav,joy,x\n")
    [row] = read_corpus(tmp_path / "labels.csv")
    assert (row.path, row.label, row.group) == (tmp_path / "a.wav", "joy", "x")
    assert as_nine([row]) == {"joy": "happy"}


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("a.jsonl", "", "is empty"),
        ("a.jsonl", "nonsense\n", "line 1 is not an entry of an EmoBox manifest"),
        ("a.jsonl", '\n{"wav": "a.wav"}\n', "line 2 is not an entry .*'emo'"),
        ("a.jsonl", '{"wav": "a.wav", "emo": "sad", "start_time": 1, "end_time": 2}', "a part of"),
        ("a.jsonl", '{"wav": "a.wav", "emo": "x"}\n{"wav": "./a.wav", "emo": "x"}', "again, as"),
    ],
)
def test_a_manifest_that_cannot_be_used_says_why(
    name: str, text: str, said: str, tmp_path: Path
) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(AnalysisError, match=said):
        read_corpus(tmp_path / name)


def test_a_folder_without_labels_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(AnalysisError, match="has no recording"):
        read_corpus(tmp_path)
    (tmp_path / "a.wav").touch()
    with pytest.raises(AnalysisError, match="has no label: put recordings into folders"):
        read_corpus(tmp_path)


def test_a_label_of_no_emotion_says_how_to_map_it(tmp_path: Path) -> None:
    (tmp_path / "contempt").mkdir()
    (tmp_path / "contempt" / "a.wav").touch()
    with pytest.raises(AnalysisError, match="'contempt' are none of the nine emotions: say with"):
        as_nine(read_corpus(tmp_path))
