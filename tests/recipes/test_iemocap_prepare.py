"""IEMOCAP's preparation: labels of dialogs, folds by session, training and validation within."""

import csv
import importlib.util
import logging
import random
import re
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import soundfile

from ssast_recipes.data.manifest import read_manifest
from ssast_recipes.data.preparation import manifests as preparation
from ssast_recipes.data.synthetic import make_iemocap
from tests.recipes.conftest import RECIPES

SPEC = importlib.util.spec_from_file_location(
    "iemocap_prepare", RECIPES / "IEMOCAP" / "iemocap_prepare.py"
)
iemocap_prepare = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(iemocap_prepare)
prepare_iemocap = iemocap_prepare.prepare_iemocap

CLASSES = ["neutral", "happy", "angry", "sad"]
CLASS_OF = {"neu": "neutral", "hap": "happy", "exc": "happy", "ang": "angry", "sad": "sad"}


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    """Ten dialogs, of an utterance each of five emotions and of two others."""
    return make_iemocap(tmp_path_factory.mktemp("made"), durations=(0.2, 0.4))


@pytest.fixture
def corpus(made, tmp_path) -> Path:
    """A copy to change."""
    return shutil.copytree(made, tmp_path / made.name)


def evaluation_of(corpus, dialog):
    return corpus / f"Session{dialog[4]}" / "dialog" / "EmoEvaluation" / f"{dialog}.txt"


def audio_of(corpus, utterance):
    folder = corpus / f"Session{utterance[4]}" / "sentences" / "wav" / utterance.rpartition("_")[0]
    return folder / f"{utterance}.wav"


def edit_labels(corpus, dialog, old, new):
    path = evaluation_of(corpus, dialog)
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def labelled(corpus):
    """The emotion of every utterance."""
    lines = [
        line.split("\t")
        for path in corpus.glob("Session*/dialog/EmoEvaluation/*.txt")
        for line in path.read_text().splitlines()
        if line.startswith("[")
    ]
    return {line[1]: line[2] for line in lines}


def manifests(folder, fold=1):
    return {
        split: read_manifest(folder / f"fold{fold}" / f"{split}.csv")
        for split in ("train", "valid", "test")
    }


def ids(clips):
    return {clip.id for clip in clips}


# ---- the fabricated corpus


def test_a_fabricated_corpus_is_laid_out_as_iemocap(tmp_path):
    corpus = make_iemocap(tmp_path, 2, num_sessions=2, durations=(0.1, 0.3))
    assert corpus == tmp_path / "IEMOCAP_full_release"
    assert sorted(path.name for path in corpus.iterdir()) == ["Session1", "Session2"]
    texts = sorted(corpus.glob("Session*/dialog/EmoEvaluation/*.txt"))
    assert [path.stem for path in texts] == [
        f"Ses0{session}{dialog}" for session in (1, 2) for dialog in ("F_impro01", "M_script01_1")
    ]
    for path in texts:
        heading, _, *lines = path.read_text().splitlines()
        assert heading == "% [START_TIME - END_TIME] TURN_NAME EMOTION [V, A, D]"
        blocks = "\n".join(lines).split("\n\n")
        assert len(blocks) == 14
        for block in blocks:
            first, *votes = block.splitlines()
            found = re.fullmatch(
                r"\[(\d+\.\d{4}) - (\d+\.\d{4})\]\t(\w+)\t([a-z]{3})\t\[\d\.\d{4}, \d\.\d{4}, "
                r"\d\.\d{4}\]",
                first,
            )
            assert re.fullmatch(rf"{path.stem}_[FM]00\d", found[3])
            audio = path.parents[2] / "sentences" / "wav" / path.stem / f"{found[3]}.wav"
            length = float(found[2]) - float(found[1])
            assert abs(soundfile.info(audio).duration - length) < 2e-4
            assert [vote[:5] for vote in votes] == ["C-E2:", "C-E3:", "C-E4:", "A-E3:", "A-E4:"]
        categorical = path.parent / "Categorical" / f"{path.stem}_e2_cat.txt"
        assert len(categorical.read_text().splitlines()) == 14
    assert len(list(corpus.rglob("*.wav"))) == len(labelled(corpus)) == 2 * 2 * 14
    assert set(Counter(labelled(corpus).values()).values()) == {8}


def test_a_fabricated_corpus_depends_on_the_seed_alone(tmp_path):
    one, same, other = (
        make_iemocap(tmp_path / name, num_sessions=1, durations=(0.1, 0.2), seed=seed)
        for name, seed in (("one", 0), ("same", 0), ("other", 1))
    )
    for path in one.rglob("*.*"):
        assert path.read_bytes() == (same / path.relative_to(one)).read_bytes()
    wav = next(one.rglob("*.wav"))
    assert wav.read_bytes() != (other / wav.relative_to(one)).read_bytes()


def test_a_corpus_that_iemocap_has_no_room_for_is_refused(tmp_path):
    for options in ({"num_sessions": 6}, {"utterances_per_emotion": 0}):
        with pytest.raises(ValueError, match="1 to 5 sessions and 1 to 100 utterances"):
            make_iemocap(tmp_path / "corpus", **options)
    assert not (tmp_path / "corpus").exists()


# ---- folds and labels


@pytest.mark.parametrize("test_fold", [1, 2, 3, 4, 5])
def test_a_fold_tests_its_session_and_splits_the_others(corpus, tmp_path, test_fold):
    assert prepare_iemocap(corpus, tmp_path / "m", test_fold) == "IEMOCAP"
    found = manifests(tmp_path / "m", test_fold)
    assert [len(clips) for clips in found.values()] == [32, 8, 10]
    expected = {name: CLASS_OF[e] for name, e in labelled(corpus).items() if e in CLASS_OF}
    clips = [clip for split in found.values() for clip in split]
    assert {clip.id: clip.labels for clip in clips} == {n: (c,) for n, c in expected.items()}
    assert {clip.extra["session"] for clip in found["test"]} == {str(test_fold)}
    others = {str(session) for session in (1, 2, 3, 4, 5) if session != test_fold}
    assert {clip.extra["session"] for clip in found["train"]} == others
    assert {clip.extra["session"] for clip in found["valid"]} <= others
    for clip in clips:
        assert clip.path == str(audio_of(corpus, clip.id))
        assert clip.extra == {"session": clip.id[4], "emotion": labelled(corpus)[clip.id]}
    # Improvised and scripted dialogs both.
    assert {clip.id.split("_")[1][:-2] for clip in found["test"]} == {"impro", "script"}
    folder = tmp_path / "m" / f"fold{test_fold}"
    assert (folder / "classes.txt").read_text().splitlines() == CLASSES


def test_the_release_may_be_a_folder_within_the_data_folder(corpus, tmp_path):
    prepare_iemocap(corpus.parent, tmp_path / "m", 2)
    assert len(manifests(tmp_path / "m", 2)["test"]) == 10


@pytest.mark.parametrize("fold", [0, 6, "1"])
def test_a_fold_that_does_not_exist_is_refused(corpus, tmp_path, fold):
    message = f"^test_fold: IEMOCAP has no session {fold!r}; choose from 1 to 5$"
    with pytest.raises(ValueError, match=message):
        prepare_iemocap(corpus, tmp_path / "m", fold)
    assert not (tmp_path / "m").exists()


def test_published_counts_are_those_of_5531_utterances():
    for known, test in iemocap_prepare.PUBLISHED.values():
        assert known + test == 5531
    published = iemocap_prepare._published(3)
    assert published.clips == {"train": 3504, "valid": 876, "test": 1151}


def test_counts_are_logged_beside_the_published_ones(corpus, tmp_path, caplog):
    with caplog.at_level(logging.INFO):
        prepare_iemocap(corpus, tmp_path / "m", 5)
    table = "\n".join(" ".join(line.split()) for line in caplog.text.splitlines())
    for line in ("train 32 3,432 3,400", "valid 8 858 850", "test 10 1,241 1,231"):
        assert f"\n{line} " in table
    assert "Left out, of other emotions: 10 fru, 10 xxx" in table


# ---- training and validation


def test_the_draw_is_of_seed_and_names_not_of_the_order_of_files(corpus, tmp_path):
    prepare_iemocap(corpus, tmp_path / "m", 1)
    for path in corpus.glob("Session*/dialog/EmoEvaluation/*.txt"):
        blocks = path.read_text().split("\n\n")
        random.Random(0).shuffle(blocks)
        path.write_text("\n\n".join(blocks))
    for path in corpus.rglob("*.wav"):  # written anew in another order
        path.rename(path.with_suffix(".tmp")).rename(path)
    prepare_iemocap(corpus, tmp_path / "again", 1)
    prepare_iemocap(corpus, tmp_path / "other", 1, split_seed=1)
    first, again, other = (manifests(tmp_path / name) for name in ("m", "again", "other"))
    assert first == again
    assert ids(first["valid"]) != ids(other["valid"])
    assert ids(first["train"] + first["valid"]) == ids(other["train"] + other["valid"])
    assert first["test"] == other["test"]


def test_a_lost_file_moves_no_other_between_training_and_validation(corpus, tmp_path):
    prepare_iemocap(corpus, tmp_path / "m", 1)
    before = manifests(tmp_path / "m")
    lost = before["train"][3].id
    audio_of(corpus, lost).unlink()
    prepare_iemocap(corpus, tmp_path / "other", 1, max_rejected=0.1)
    after = manifests(tmp_path / "other")
    assert ids(after["train"]) == ids(before["train"]) - {lost}
    assert ids(after["valid"]) == ids(before["valid"])


def test_another_seed_prepares_anew(corpus, tmp_path):
    prepare_iemocap(corpus, tmp_path / "m", 1)
    before = ids(manifests(tmp_path / "m")["valid"])
    prepare_iemocap(corpus, tmp_path / "m", 1, split_seed=1)
    assert ids(manifests(tmp_path / "m")["valid"]) != before


# ---- labels as they may be


def test_undecided_and_other_emotions_are_left_out(corpus, tmp_path):
    edit_labels(corpus, "Ses01F_impro01", "\tang\t", "\txxx\t")
    prepare_iemocap(corpus, tmp_path / "m", 1)
    found = ids(manifests(tmp_path / "m")["test"])
    labels = labelled(corpus)
    assert found == {n for n in labels if n[4] == "1" and labels[n] in CLASS_OF}
    assert len(found) == 9


def test_a_fold_without_one_emotion_is_prepared_with_all_classes(corpus, tmp_path, caplog):
    for dialog in ("Ses03F_impro01", "Ses03M_script01_1"):
        edit_labels(corpus, dialog, "\tsad\t", "\tfru\t")
    with caplog.at_level(logging.INFO):
        prepare_iemocap(corpus, tmp_path / "m", 3)
    labels = Counter(clip.labels for clip in manifests(tmp_path / "m", 3)["test"])
    assert labels == {("neutral",): 2, ("happy",): 4, ("angry",): 2}
    assert (tmp_path / "m" / "fold3" / "classes.txt").read_text().splitlines() == CLASSES
    lines = [line.split() for line in caplog.text.splitlines()]
    (sad,) = [line for line in lines if line[:1] == ["sad"]]
    assert sad[-1] == "0"


def test_cases_formats_and_strange_names(tmp_path):
    corpus = make_iemocap(tmp_path / "Zürich – 声", durations=(0.2, 0.2))
    edit_labels(corpus, "Ses01F_impro01", "\tneu\t", "\tNEU\t")
    upper, flac, stereo, byte = (
        audio_of(corpus, f"Ses01F_impro01_{turn}") for turn in ("F000", "M000", "F001", "M001")
    )
    samples, rate = soundfile.read(upper)
    upper.rename(upper.with_name(upper.name.upper()))
    soundfile.write(flac.with_suffix(".flac"), samples, rate)
    flac.unlink()
    soundfile.write(stereo, np.stack([samples, samples], axis=1), 44100)
    soundfile.write(byte, samples, rate, subtype="PCM_U8")
    # What macOS left in the release, and what dialogs' folders hold besides.
    evaluation_of(corpus, "Ses01F_impro01").with_name("._Ses01F_impro01.txt").write_bytes(b"\xb0[")
    upper.with_name(f"._{upper.name}").write_bytes(b"\xb0")
    (corpus / "Session1" / "dialog" / "wav").mkdir()
    shutil.copy(stereo, corpus / "Session1" / "dialog" / "wav" / "Ses01F_impro01.wav")
    prepare_iemocap(corpus, tmp_path / "m", 1)
    test = {clip.id: clip for clip in manifests(tmp_path / "m")["test"]}
    assert len(test) == 10
    assert test[upper.stem].path.endswith("SES01F_IMPRO01_F000.WAV")
    assert test[upper.stem].labels == ("neutral",)
    assert test[flac.stem].path == str(flac.with_suffix(".flac"))
    assert test[stereo.stem].sample_rate == 44100 and byte.stem in test


# ---- what is missing or wrong


def test_a_labelled_utterance_without_audio_is_rejected_by_name(corpus, tmp_path):
    lost = audio_of(corpus, "Ses02F_impro01_F001")
    lost.unlink()
    with pytest.raises(ValueError, match="1 of 50 audio files cannot be used.*Ses02F_impro01_F001"):
        prepare_iemocap(corpus, tmp_path / "m", 2)
    prepare_iemocap(corpus, tmp_path / "m", 2, max_rejected=0.02)
    with open(tmp_path / "m" / "fold2" / "rejected.csv", newline="") as file:
        (row,) = csv.DictReader(file)
    assert row["path"] == str(lost) and "is not there" in row["reason"]
    assert len(manifests(tmp_path / "m", 2)["test"]) == 9


def test_a_missing_speaker_is_too_much(corpus, tmp_path):
    for path in corpus.glob("Session4/sentences/wav/*/*_M*.wav"):
        path.unlink()
    with pytest.raises(ValueError, match="4 of 50 audio files cannot be used.*_M00"):
        prepare_iemocap(corpus, tmp_path / "m", 1)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("\tSes01F_impro01_F000\tneu\t[", " [", "line 3: expected .start - end. utterance emotion"),
        ("Ses01F_impro01_M000", "Ses01F_impro01_F000", "line 10: the utterance .* labelled twice"),
    ],
)
def test_errors_of_labels_name_file_and_line(corpus, tmp_path, old, new, message):
    edit_labels(corpus, "Ses01F_impro01", old, new)
    with pytest.raises(ValueError, match=f"Ses01F_impro01.txt, {message}"):
        prepare_iemocap(corpus, tmp_path / "m", 1)
    assert not (tmp_path / "m").exists()


def test_a_session_without_the_emotions_is_an_error(corpus, tmp_path):
    for path in corpus.glob("Session5/dialog/EmoEvaluation/*.txt"):
        path.unlink()
    with pytest.raises(ValueError, match="Session5/dialog/EmoEvaluation: no utterance is labelled"):
        prepare_iemocap(corpus, tmp_path / "m", 1)


@pytest.mark.parametrize(
    ("missing", "message"),
    [
        ("Session3", "IEMOCAP_full_release: Session3 of IEMOCAP is missing"),
        ("Session2/sentences", "Session2/sentences/wav is missing"),
        ("Session2/dialog", "Session2/dialog/EmoEvaluation is missing"),
    ],
)
def test_an_incomplete_corpus_says_what_is_missing(corpus, tmp_path, missing, message):
    shutil.rmtree(corpus / missing)
    for data_folder in (corpus, corpus.parent):
        with pytest.raises(FileNotFoundError, match=message):
            prepare_iemocap(data_folder, tmp_path / "m", 1)


def test_a_folder_that_is_not_iemocap_says_what_is_expected(tmp_path):
    with pytest.raises(FileNotFoundError, match="is not IEMOCAP: expected Session1 to Session5"):
        prepare_iemocap(tmp_path, tmp_path / "m", 1)
    with pytest.raises(FileNotFoundError, match="gone does not exist: expected"):
        prepare_iemocap(tmp_path / "gone", tmp_path / "m", 1)


# ---- again


def test_nothing_is_done_twice_and_the_data_folder_is_never_written(corpus, tmp_path, monkeypatch):
    before = {path: path.stat().st_mtime_ns for path in corpus.rglob("*")}
    folders = [corpus, *(path for path in corpus.rglob("*") if path.is_dir())]
    for folder in folders:
        folder.chmod(0o555)
    try:
        prepare_iemocap(corpus, tmp_path / "m", 1)
        monkeypatch.setattr(preparation, "scan_audio", None)  # no audio file is opened
        prepare_iemocap(str(corpus), str(tmp_path / "m"), 1)
    finally:
        for folder in folders:
            folder.chmod(0o755)
    assert {path: path.stat().st_mtime_ns for path in corpus.rglob("*")} == before


def test_an_utterance_in_two_formats_is_an_error(corpus, tmp_path):
    (path, *_) = sorted(corpus.rglob("Ses*.wav"))
    samples, rate = soundfile.read(path)
    soundfile.write(path.with_suffix(".flac"), samples, rate)
    with pytest.raises(ValueError, match="are the same utterance; keep one"):
        prepare_iemocap(corpus, tmp_path / "manifests", test_fold=5)
