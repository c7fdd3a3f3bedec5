"""LibriSpeech's preparation: its layout, its subsets, its archives."""

import csv
import functools
import hashlib
import importlib.util
import logging
import re
import shutil
import tarfile
import threading
from collections import Counter
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import soundfile

from ssast_recipes.data.manifest import read_manifest
from ssast_recipes.data.preparation import manifests as preparation
from ssast_recipes.data.synthetic import make_librispeech
from tests.recipes.conftest import RECIPES

SPEC = importlib.util.spec_from_file_location(
    "librispeech_prepare", RECIPES / "Librispeech" / "librispeech_prepare.py"
)
librispeech_prepare = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(librispeech_prepare)
prepare_librispeech = librispeech_prepare.prepare_librispeech

SUBSETS = ["train-clean-100", "train-other-500"]  # of the fabricated corpus


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    """Three speakers to train on and one for each development set, four utterances each."""
    speakers = {"train-clean-100": 2, "train-other-500": 1, "dev-clean": 1, "dev-other": 1}
    return make_librispeech(tmp_path_factory.mktemp("made"), speakers, (0.1, 0.3))


@pytest.fixture
def corpus(made, tmp_path) -> Path:
    """A copy to change."""
    return shutil.copytree(made, tmp_path / "corpus")


def utterances(corpus, *subsets):
    """Path by ID, as the folders have it."""
    paths = [path for subset in subsets for path in corpus.glob(f"LibriSpeech/{subset}/*/*/*.flac")]
    return {path.stem: str(path) for path in paths}


def ids(folder, name):
    return [clip.id for clip in read_manifest(folder / f"{name}.csv")]


# ---- the fabricated corpus


def test_a_fabricated_corpus_is_laid_out_as_librispeech(tmp_path):
    corpus = make_librispeech(tmp_path, {"train-clean-360": 2, "dev-other": 1}, (0.1, 0.2), 3, 2)
    root = corpus / "LibriSpeech"
    files = [str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()]
    files.remove("SPEAKERS.TXT")
    layout = re.compile(r"([a-z0-9-]+)/(\d+)/(\d+)/\2-\3(?:-(\d{4})\.flac|\.trans\.txt)")
    found = [layout.fullmatch(file).groups() for file in files]
    speakers = {(subset, speaker) for subset, speaker, _, _ in found}
    assert Counter(subset for subset, _ in speakers) == {"train-clean-360": 2, "dev-other": 1}
    assert len({speaker for _, speaker in speakers}) == 3
    assert len({chapter for _, _, chapter, _ in found}) == len(found) / 3 == 9
    assert Counter(number for *_, number in found) == {"0000": 9, "0001": 9, None: 9}
    for path in root.rglob("*.trans.txt"):
        lines = path.read_text().splitlines()
        assert [line.split(" ", 1)[0] for line in lines] == sorted(
            audio.stem for audio in path.parent.glob("*.flac")
        )
        assert all(re.fullmatch(r"[A-Z' ]+", line.split(" ", 1)[1]) for line in lines)
    for path in root.rglob("*.flac"):
        info = soundfile.info(path)
        assert (info.format, info.subtype, info.samplerate) == ("FLAC", "PCM_16", 16000)
        assert 0.1 <= info.duration <= 0.2
    rows = (root / "SPEAKERS.TXT").read_text().splitlines()[1:]
    assert {tuple(row.replace(" ", "").split("|")[i] for i in (2, 0)) for row in rows} == speakers


def test_a_fabricated_corpus_depends_on_the_seed_alone(tmp_path):
    one, same, other = (
        make_librispeech(tmp_path / name, {"dev-clean": 1}, (0.1, 0.1), seed=seed)
        for name, seed in (("one", 0), ("same", 0), ("other", 1))
    )
    bytes_of = [
        [path.read_bytes() for path in sorted(corpus.rglob("*.flac"))]
        for corpus in (one, same, other)
    ]
    assert bytes_of[0] == bytes_of[1] and bytes_of[0] != bytes_of[2]
    with pytest.raises(ValueError, match="not 1 and 10001"):
        make_librispeech(tmp_path, {}, (0.1, 0.1), 1, 10_001)


# ---- manifests


@pytest.mark.parametrize("inside", [False, True])
def test_every_utterance_is_in_its_subset_and_in_train_or_valid(corpus, tmp_path, inside):
    data_folder = corpus / "LibriSpeech" if inside else corpus
    assert prepare_librispeech(data_folder, tmp_path / "m", SUBSETS) == "LibriSpeech"
    of_split = {subset: [subset] for subset in (*SUBSETS, "dev-clean", "dev-other")}
    of_split |= {"train": SUBSETS, "valid": ["dev-clean", "dev-other"]}
    assert {path.stem for path in (tmp_path / "m").glob("*.csv")} == {*of_split, "rejected"}
    assert not (tmp_path / "m" / "classes.txt").exists()
    for split, subsets in of_split.items():
        clips = read_manifest(tmp_path / "m" / f"{split}.csv")
        expected = utterances(corpus, *subsets)
        assert {clip.id: clip.path for clip in clips} == expected
        assert ids(tmp_path / "m", split) == sorted(expected)
        for clip in clips:
            assert clip.labels == () and clip.extra == {"speaker": clip.id.split("-")[0]}
            assert (clip.start, clip.sample_rate) == (0.0, 16000)
            assert clip.duration == soundfile.info(clip.path).duration
    assert len(ids(tmp_path / "m", "train")) == 12


def test_subsets_choose_what_is_trained_on(corpus, tmp_path):
    prepare_librispeech(corpus, tmp_path / "m", ["train-other-500"])
    assert ids(tmp_path / "m", "train") == sorted(utterances(corpus, "train-other-500"))
    assert not (tmp_path / "m" / "train-clean-100.csv").exists()


def test_without_development_sets_every_so_many_th_utterance_is_held_out(
    corpus, tmp_path, monkeypatch, caplog
):
    monkeypatch.setattr(librispeech_prepare, "HOLD_OUT_EVERY", 5)
    shutil.rmtree(corpus / "LibriSpeech" / "dev-clean")
    prepare_librispeech(corpus, tmp_path / "m", SUBSETS)  # one of them is enough
    assert ids(tmp_path / "m", "valid") == sorted(utterances(corpus, "dev-other"))
    assert "held out" not in caplog.text
    shutil.rmtree(corpus / "LibriSpeech" / "dev-other")
    prepare_librispeech(corpus, tmp_path / "m", SUBSETS[::-1])
    everything = sorted(utterances(corpus, *SUBSETS))
    assert ids(tmp_path / "m", "valid") == everything[::5] and len(everything[::5]) == 3
    assert ids(tmp_path / "m", "train") == sorted({*everything} - {*everything[::5]})
    assert ids(tmp_path / "m", "train-clean-100") == sorted(utterances(corpus, "train-clean-100"))
    assert "neither dev-clean nor dev-other: every 5th utterance" in caplog.text


def test_counts_are_logged_beside_the_published_ones(corpus, tmp_path, caplog):
    assert sum(subset.clips for subset in librispeech_prepare.TRAIN.values()) == 281_241
    with caplog.at_level(logging.INFO):
        prepare_librispeech(corpus, tmp_path / "m", SUBSETS)
    table = "\n".join(" ".join(line.split()) for line in caplog.text.splitlines())
    for line in (
        "train-clean-100 8 28,539 28,531",
        "train-other-500 4 148,688 148,684",
        "dev-clean 4 2,703 2,699",
        "dev-other 4 2,864 2,860",
        "train 12 177,227 177,215",
        "valid 8 5,567 5,559",
    ):
        assert f"\n{line} " in table


def test_other_names_and_formats_of_files_are_found_or_told(corpus, tmp_path, caplog):
    folder = corpus / "LibriSpeech" / "train-clean-100"
    upper, wav, stereo, byte = sorted(folder.rglob("*.flac"))[:4]
    samples, rate = soundfile.read(upper)
    upper.rename(upper.with_suffix(".FLAC"))
    soundfile.write(wav.with_suffix(".wav"), samples, rate)
    wav.unlink()
    soundfile.write(stereo, np.stack([samples, samples], axis=1), 44100)
    soundfile.write(byte.with_suffix(".wav"), samples, rate, subtype="PCM_U8")
    byte.unlink()
    byte.with_name(f"._{byte.name}").write_bytes(b"macOS")  # belongs to another file
    stray = [folder / "19" / "noise.wav", folder / "19" / "198" / "20-198-0000.flac"]
    for path in stray:
        soundfile.write(path, samples, rate)
    moved = tmp_path / "Zürich – 声"
    corpus.rename(moved)
    prepare_librispeech(moved, tmp_path / "m", SUBSETS)
    clips = {clip.id: clip for clip in read_manifest(tmp_path / "m" / "train-clean-100.csv")}
    assert len(clips) == 8
    assert clips[upper.stem].path.endswith(".FLAC")
    assert clips[wav.stem].duration == len(samples) / rate
    assert clips[stereo.stem].sample_rate == 44100
    assert clips[byte.stem].path.endswith(".wav")
    assert f"2 audio files of {moved}/LibriSpeech/train-clean-100 left out" in caplog.text
    assert all(path.name in caplog.text for path in stray)


# ---- transcripts


@pytest.fixture
def spoken(tmp_path) -> Path:
    """A corpus with sets to test on, whose transcripts differ."""
    speakers = {"train-clean-100": 1, "dev-clean": 1, "test-clean": 1, "test-other": 1}
    return make_librispeech(tmp_path / "spoken", speakers, words=["ONE", "IT'S", "TWO"])


def test_transcripts_are_read_for_all_sets(spoken, tmp_path):
    prepare_librispeech(spoken, tmp_path / "m", ["train-clean-100"], transcripts=True)
    written = {}
    for path in spoken.rglob("*.trans.txt"):
        written |= dict(line.split(" ", 1) for line in path.read_text().splitlines())
    assert len(set(written.values())) > 8
    for split in ("train", "valid", "test-clean", "test-other", "train-clean-100", "dev-clean"):
        clips = read_manifest(tmp_path / "m" / f"{split}.csv")
        assert len(clips) == 4
        for clip in clips:
            assert clip.extra == {"speaker": clip.id.split("-")[0], "text": written[clip.id]}
    prepare_librispeech(spoken, tmp_path / "plain", ["train-clean-100"])
    assert "test-clean" not in {path.stem for path in (tmp_path / "plain").glob("*.csv")}
    assert "text" not in (tmp_path / "plain" / "train.csv").read_text().splitlines()[0]


def test_an_utterance_without_a_transcript_is_left_out_or_an_error(spoken, tmp_path, caplog):
    path = next((spoken / "LibriSpeech" / "test-other").rglob("*.trans.txt"))
    lost, *kept = path.read_text().splitlines(keepends=True)
    path.write_text("".join(kept))
    subsets, name = ["train-clean-100"], lost.partition(" ")[0]
    with pytest.raises(ValueError, match=f"1 of 4 utterances of .*test-other have no .*{name}"):
        prepare_librispeech(spoken, tmp_path / "m", subsets, transcripts=True)
    prepare_librispeech(spoken, tmp_path / "m", subsets, transcripts=True, max_rejected=0.25)
    assert name not in ids(tmp_path / "m", "test-other")
    assert f"left out: {name}" in caplog.text


def test_recognition_needs_a_set_to_test_on(corpus, tmp_path):
    with pytest.raises(FileNotFoundError, match="neither test-clean nor test-other is there"):
        prepare_librispeech(corpus, tmp_path / "m", SUBSETS, transcripts=True)


# ---- what is missing


def test_an_utterance_of_a_transcript_without_audio_is_rejected_by_name(corpus, tmp_path):
    chapter = corpus / "LibriSpeech" / "train-clean-100" / "19" / "198"
    (lost, kept) = sorted(chapter.glob("*.flac"))
    lost.unlink()
    (chapter / "._19-198.trans.txt").write_bytes(b"\xff\x00 macOS")
    transcript = chapter / "19-198.trans.txt"
    transcript.write_bytes(transcript.read_bytes() + b"\nno utterance\n19-198-0001 TH\xc9\n")
    with pytest.raises(ValueError, match=f"1 of 20 audio files cannot be used.*{lost.stem}.flac"):
        prepare_librispeech(corpus, tmp_path / "m", SUBSETS)
    prepare_librispeech(corpus, tmp_path / "m", SUBSETS, max_rejected=0.1)
    with open(tmp_path / "m" / "rejected.csv", newline="") as file:
        (row,) = csv.DictReader(file)
    assert row["path"] == str(lost) and "is not there" in row["reason"]
    assert len(ids(tmp_path / "m", "train")) == 11 and kept.stem in ids(tmp_path / "m", "train")
    transcript.unlink()  # then nobody knows of it
    prepare_librispeech(corpus, tmp_path / "m", SUBSETS)
    assert len(ids(tmp_path / "m", "train")) == 11


def test_a_subset_that_is_not_there_says_how_to_get_it(corpus, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"corpus: train-clean-360 missing .*360\.tar\.gz"):
        prepare_librispeech(corpus, tmp_path / "m")
    message = r"/nowhere: train-clean-100, train-clean-360, train-other-500 missing.*--download"
    with pytest.raises(FileNotFoundError, match=message) as error:
        prepare_librispeech("/nowhere", tmp_path / "m")
    assert "\n" not in str(error.value)
    with pytest.raises(ValueError, match=r"subsets: .* train-other-500 .*, not \['dev-clean'\]"):
        prepare_librispeech(corpus, tmp_path / "m", ["dev-clean"])
    (corpus / "LibriSpeech" / "train-clean-360").mkdir()
    with pytest.raises(ValueError, match="there is no clip for the split train-clean-360"):
        prepare_librispeech(corpus, tmp_path / "m")
    assert not (tmp_path / "m").exists()


def test_an_utterance_in_two_formats_is_an_error(corpus, tmp_path):
    path = next(corpus.rglob("*.flac"))
    path.with_suffix(".wav").touch()
    with pytest.raises(ValueError, match=r"is there twice, as .*\.flac and .*\.wav; take one away"):
        prepare_librispeech(corpus, tmp_path / "m", SUBSETS)


def test_nothing_is_done_twice_and_the_data_folder_is_never_written(corpus, tmp_path, monkeypatch):
    before = {path: path.stat().st_mtime_ns for path in corpus.rglob("*")}
    folders = [corpus, *(path for path in corpus.rglob("*") if path.is_dir())]
    for folder in folders:
        folder.chmod(0o555)
    try:
        prepare_librispeech(corpus, tmp_path / "m", SUBSETS, download=False)
        monkeypatch.setattr(preparation, "scan_audio", None)  # no audio file is opened
        prepare_librispeech(str(corpus), str(tmp_path / "m"), SUBSETS[::-1])
    finally:
        for folder in folders:
            folder.chmod(0o755)
    assert {path: path.stat().st_mtime_ns for path in corpus.rglob("*")} == before


# ---- downloads


@pytest.fixture
def asked(made, tmp_path, monkeypatch) -> list[str]:
    """A server on loopback that has the archives, with their checksums; what it was asked for."""
    asked = []

    class Handler(SimpleHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            super().do_GET()

        def log_message(self, *_):
            pass

    folder = tmp_path / "server" / "resources" / "12"
    folder.mkdir(parents=True)
    for kind in ("TRAIN", "VALID"):
        subsets = dict(getattr(librispeech_prepare, kind))
        for name in subsets:
            if (made / "LibriSpeech" / name).is_dir():
                with tarfile.open(folder / f"{name}.tar.gz", "w:gz") as archive:
                    for member in ("SPEAKERS.TXT", name):
                        archive.add(made / "LibriSpeech" / member, f"LibriSpeech/{member}")
                content = (folder / f"{name}.tar.gz").read_bytes()
                md5 = hashlib.md5(content).hexdigest()
                subsets[name] = subsets[name]._replace(size=len(content), md5=md5)
        monkeypatch.setattr(librispeech_prepare, kind, subsets)
    handler = functools.partial(Handler, directory=tmp_path / "server")
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        assert librispeech_prepare.URL == "https://www.openslr.org/resources/12"
        url = f"http://127.0.0.1:{server.server_port}/resources/12"
        monkeypatch.setattr(librispeech_prepare, "URL", url)
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield asked
        server.shutdown()
        thread.join()


def test_what_is_missing_is_downloaded_and_nothing_else(asked, made, tmp_path):
    data = tmp_path / "data"
    prepare_librispeech(data, tmp_path / "m", ["train-clean-100"], download=True)
    names = ["train-clean-100", "dev-clean", "dev-other"]
    assert asked == [f"/resources/12/{name}.tar.gz" for name in names]
    assert sorted(path.name for path in (data / "LibriSpeech").iterdir()) == sorted(names)
    for stem, path in utterances(data, *names).items():
        assert Path(path).read_bytes() == Path(utterances(made, *names)[stem]).read_bytes()
    assert ids(tmp_path / "m", "train") == sorted(utterances(made, "train-clean-100"))
    prepare_librispeech(data / "LibriSpeech", tmp_path / "m", SUBSETS, download=True)
    assert asked[3:] == ["/resources/12/train-other-500.tar.gz"]
    assert len(ids(tmp_path / "m", "train")) == 12


def test_another_archive_than_the_published_one_is_refused(asked, tmp_path, monkeypatch):
    subset = librispeech_prepare.TRAIN["train-clean-100"]
    changed = {"train-clean-100": subset._replace(md5="2a93770f6d5c6c964bc36631d331a522")}
    monkeypatch.setattr(librispeech_prepare, "TRAIN", librispeech_prepare.TRAIN | changed)
    with pytest.raises(ValueError, match="its md5 is .*, not 2a93770f6d5c6c964bc36631d331a522"):
        prepare_librispeech(tmp_path / "data", tmp_path / "m", ["train-clean-100"], download=True)
    assert list((tmp_path / "data").rglob("*.flac")) == []
