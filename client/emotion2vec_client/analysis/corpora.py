"""Labelled recordings in the forms that people have: CSV, EmoBox's JSONL, and folders."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from emotion2vec_client.analysis.errors import AnalysisError
from emotion2vec_client.analysis.label_file import LabelledFile, check_repeated, read_labels

SUFFIXES = {".wav", ".mp3", ".m4a", ".flac", ".ogg", ".opus"}

EMODB = re.compile(r"(?P<speaker>\d\d)[ab]\d\d(?P<emotion>[WLEAFTN])[a-z]?")
"""Name of a recording of Emo-DB, such as ``03a01Fa``."""

EMODB_LABELS = {
    "W": "anger", "L": "boredom", "E": "disgust", "A": "fear", "F": "happiness", "T": "sadness",
    "N": "neutral",
}  # fmt: skip

RAVDESS = re.compile(r"\d\d-\d\d-(?P<emotion>\d\d)-\d\d-\d\d-\d\d-(?P<speaker>\d\d)")
"""Name of a recording of RAVDESS, such as ``03-01-06-01-02-01-11``."""

RAVDESS_LABELS = {
    "01": "neutral", "02": "calm", "03": "happy", "04": "sad", "05": "angry", "06": "fearful",
    "07": "disgust", "08": "surprised",
}  # fmt: skip

NAMES = {
    "angry": ("anger", "ang", "mad"),
    "disgusted": ("disgust", "dis"),
    "fearful": ("fear", "fea", "afraid", "anxiety", "anxious", "scared"),
    "happy": ("happiness", "hap", "joy", "joyful", "excited", "excitement", "exc"),
    "neutral": ("neutrality", "neu", "calm"),
    "other": ("others", "oth", "boredom", "boredem", "bored"),
    "sad": ("sadness",),
    "surprised": ("surprise", "sur"),
    "unknown": ("unk", "<unk>"),
}
"""Other names of the nine emotions in corpora, in lower case."""

NINE = {**{name: name for name in NAMES}, **{o: n for n, others in NAMES.items() for o in others}}


def read_corpus(source: Path, label_map: Mapping[str, str] | None = None) -> list[LabelledFile]:
    """Reads labelled recordings.

    Args:
        source: A CSV with columns file and label, and optionally speaker or group; a JSONL manifest
            of EmoBox; or a folder, whose recordings are named as in Emo-DB or RAVDESS, or lie in
            folders named by their label.
        label_map: New names of labels, as in EmoBox's label_map.json; recordings with labels that
            it does not name are left out.

    Raises:
        AnalysisError: The source has another form, or no recording is left.
        OSError: The source cannot be read.
    """
    if source.is_dir():
        rows = _read_folder(source)
    elif source.suffix.lower() in (".jsonl", ".ndjson"):
        rows = _read_manifest(source)
    else:
        rows = read_labels(source)
    if label_map is None:
        return rows
    mapped = [
        LabelledFile(row.path, label_map[row.label], row.group)
        for row in rows
        if row.label in label_map
    ]
    if not mapped:
        raise AnalysisError(
            f"the label map has none of the labels of {source}, which are "
            f"{_listed(row.label for row in rows)}"
        )
    return mapped


def read_label_map(path: Path) -> dict[str, str]:
    """Reads new names of labels, a JSON object of strings.

    Raises:
        AnalysisError: The file is not one.
        OSError: The file cannot be read.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise AnalysisError(f"{path} is not JSON: {error}") from error
    if not isinstance(content, dict) or not all(isinstance(new, str) for new in content.values()):
        raise AnalysisError(
            f'{path} is not a label map: write an object such as {{"anger": "angry"}}'
        )
    return content


def as_nine(rows: Iterable[LabelledFile]) -> dict[str, str]:
    """Which of the nine emotions each label of a corpus means.

    Returns:
        The label's emotion, by label, in alphabetical order.

    Raises:
        AnalysisError: Some label means none of them.
    """
    labels = sorted({row.label for row in rows})
    unknown = [label for label in labels if label.lower() not in NINE]
    if unknown:
        raise AnalysisError(
            f"the labels {_listed(unknown)} are none of the nine emotions: say with --label-map "
            'map.json what they mean, such as {"' + unknown[0] + '": "other"}; labels that the map '
            "does not name are left out"
        )
    return {label: NINE[label.lower()] for label in labels}


def _read_manifest(source: Path) -> list[LabelledFile]:
    rows: list[LabelledFile] = []
    lines: list[int] = []
    roots = [source.parent, *source.absolute().parents, Path()]
    for number, line in enumerate(source.read_text(encoding="utf-8-sig").split("\n"), start=1):
        if not line.strip():
            continue
        where = f"{source}, line {number}"
        try:
            entry = json.loads(line)
            wav, label = str(entry["wav"]), str(entry["emo"])
        except (ValueError, TypeError, KeyError) as error:
            raise AnalysisError(
                f"{where} is not an entry of an EmoBox manifest, which has 'wav' and 'emo': {error}"
            ) from error
        if "start_time" in entry or "end_time" in entry:
            raise AnalysisError(
                f"{where} is a part of a longer recording ({entry.get('start_time')} to "
                f"{entry.get('end_time')} s): cut such recordings into files first"
            )
        # EmoBox's paths are relative to the folder from which its scripts run.
        path = next((root / wav for root in roots if (root / wav).is_file()), roots[0] / wav)
        group = entry.get("speaker")
        group = _speaker(path.stem) if group in (None, "") else group
        rows.append(LabelledFile(path, label, None if group is None else str(group)))
        lines.append(number)
    if not rows:
        raise AnalysisError(f"{source} is empty: give a manifest with one JSON object per line")
    check_repeated(source, [row.path for row in rows], lines)
    return _with_all_groups(rows)


def _read_folder(source: Path) -> list[LabelledFile]:
    found = (path for path in source.rglob("*") if path.suffix.lower() in SUFFIXES)
    # macOS leaves files such as ._happy.wav on other systems' disks.
    paths = sorted(path for path in found if not path.name.startswith("."))
    if not paths:
        raise AnalysisError(f"{source} has no recording ({', '.join(sorted(SUFFIXES))})")
    for pattern, labels in ((EMODB, EMODB_LABELS), (RAVDESS, RAVDESS_LABELS)):
        matches = [pattern.fullmatch(path.stem) for path in paths]
        if all(matches):
            return [
                LabelledFile(path, labels[match["emotion"]], match["speaker"])
                for path, match in zip(paths, matches)
                if match
            ]
    loose = [path for path in paths if path.parent == source]
    if loose:
        raise AnalysisError(
            f"{loose[0]} has no label: put recordings into folders named by their label, name all "
            "as in Emo-DB or RAVDESS, or write a CSV with columns file and label"
        )
    return [LabelledFile(path, path.relative_to(source).parts[0]) for path in paths]


def _speaker(stem: str) -> str | None:
    for pattern in (EMODB, RAVDESS):
        match = pattern.fullmatch(stem)
        if match:
            return match["speaker"]
    return None


def _with_all_groups(rows: list[LabelledFile]) -> list[LabelledFile]:
    """The rows; without groups, if some row lacks one."""
    if all(row.group is not None for row in rows):
        return rows
    return [LabelledFile(row.path, row.label) for row in rows]


def _listed(labels: Iterable[str]) -> str:
    return ", ".join(repr(label) for label in sorted(set(labels)))
