import csv
import hashlib
import importlib.util
import logging
import os
import shutil
import sys
import threading
import zipfile
from collections import Counter
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile
from speechbrain.utils.distributed import run_on_main

from ssast_recipes.data.manifest import read_manifest
from ssast_recipes.data.preparation import manifests as preparation
from ssast_recipes.data.synthetic import make_esc50

PATH = Path(__file__).parents[2] / "recipes" / "ESC50" / "esc50_prepare.py"
SPEC = importlib.util.spec_from_file_location("esc50_prepare", PATH)
esc50_prepare = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(esc50_prepare)
prepare_esc50 = esc50_prepare.prepare_esc50


@pytest.fixture
def corpus(tmp_path) -> Path:
    return make_esc50(tmp_path / "corpus", duration=0.5)


def audio_of(corpus):
    return sorted((corpus / "audio").iterdir())


def files_with_times(folder):
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*")}


def edit_meta(corpus, edit):
    meta = corpus / "meta" / "esc50.csv"
    lines = meta.read_text().splitlines()
    meta.write_text("\n".join(edit(lines)) + "\n")


# ---- the fabricated corpus


def test_a_fabricated_corpus_is_laid_out_as_esc50(tmp_path):
    folder = make_esc50(tmp_path, 2, num_classes=6, num_folds=3, duration=0.2, extension="flac")
    with open(folder / "meta" / "esc50.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == "filename fold target category esc10 src_file take".split()
    assert len(rows) == len(audio_of(folder)) == 2 * 6 * 3
    for row in rows:
        expected = f"{row['fold']}-{row['src_file']}-{row['take']}-{row['target']}.flac"
        assert row["filename"] == expected
        info = soundfile.info(folder / "audio" / expected)
        assert (info.frames, info.samplerate, info.channels) == (8820, 44100, 1)
    # As in ESC-50, the takes of one source never lie in two folds.
    assert len({row["src_file"] for row in rows}) == 6 * 3
    assert len({row["category"] for row in rows}) == 6


def test_a_fabricated_corpus_depends_on_the_seed_alone(tmp_path):
    options = {"num_classes": 3, "num_folds": 2, "duration": 0.1}
    one = make_esc50(tmp_path / "one", **options)
    more = make_esc50(tmp_path / "more", clips_per_class_and_fold=2, **options)
    other = make_esc50(tmp_path / "other", seed=1, **options)
    for path in audio_of(one):
        assert path.read_bytes() == (more / "audio" / path.name).read_bytes()
        assert path.read_bytes() != (other / "audio" / path.name).read_bytes()

    assert not (tmp_path / "corpus").exists()


# ---- splits and manifests


@pytest.mark.parametrize("test_fold", [1, 4])
def test_four_folds_train_and_the_fifth_tests(corpus, tmp_path, test_fold):
    prepare_esc50(corpus, tmp_path / "manifests", test_fold)
    folder = tmp_path / "manifests" / f"fold{test_fold}"
    train, test = (read_manifest(folder / f"{split}.csv") for split in ("train", "test"))
    assert Counter(clip.extra["fold"] for clip in test) == {str(test_fold): 4}
    others = {1, 2, 3, 4, 5} - {test_fold}
    assert Counter(clip.extra["fold"] for clip in train) == {str(fold): 4 for fold in others}
    assert not {clip.id for clip in train} & {clip.id for clip in test}
    assert {clip.id for clip in train + test} == {path.stem for path in audio_of(corpus)}
    names = ["tone_0", "noise_0", "sweep_0", "clicks_0"]
    for clip in train + test:
        assert clip.labels == (names[int(clip.id.split("-")[-1])],)
        assert (clip.start, clip.duration, clip.sample_rate) == (0.0, 0.5, 16000)
    assert (folder / "classes.txt").read_text().splitlines() == names
    assert (folder / "rejected.csv").read_text() == "path,reason\n"


@pytest.mark.parametrize("fold", [0, 6, "1"])
def test_a_fold_that_does_not_exist_is_refused(corpus, tmp_path, fold):
    message = f"^test_fold: ESC-50 has no fold {fold!r}; choose from 1 to 5$"
    with pytest.raises(ValueError, match=message):
        prepare_esc50(corpus, tmp_path / "m", fold)
    assert not (tmp_path / "m").exists()


def test_a_fold_without_clips_is_an_error(tmp_path):
    corpus = make_esc50(tmp_path / "corpus", num_folds=2, duration=0.1)
    with pytest.raises(ValueError, match="ESC-10: there is no clip for the split test"):
        prepare_esc50(corpus, tmp_path / "m", 3)


def test_classes_are_in_the_order_of_their_numbers(corpus, tmp_path):
    swap = {"0,tone_0": "40,helicopter", "3,clicks_0": "12,crackling_fire"}

    def rename(lines):
        for old, new in swap.items():
            lines = [line.replace(old, new) for line in lines]
        return lines

    edit_meta(corpus, rename)
    prepare_esc50(corpus, tmp_path / "m", 1)
    classes = (tmp_path / "m" / "fold1" / "classes.txt").read_text().splitlines()
    assert classes == ["noise_0", "sweep_0", "crackling_fire", "helicopter"]


# ---- audio


@pytest.mark.parametrize("extension", ["flac", "ogg"])
def test_any_format_that_soundfile_reads_will_do(tmp_path, extension):
    corpus = make_esc50(tmp_path / "corpus", duration=0.5, extension=extension)
    prepare_esc50(corpus, tmp_path / "m", 2)
    clips = read_manifest(tmp_path / "m" / "fold2" / "test.csv")
    assert [(clip.path[-4:], clip.sample_rate) for clip in clips] == [(".wav", 16000)] * 4


def test_files_converted_behind_the_back_of_the_list_are_found(tmp_path):
    corpus = make_esc50(tmp_path / "corpus", duration=0.1, extension="flac")
    edit_meta(corpus, lambda lines: [line.replace(".flac", ".wav") for line in lines])
    for path in audio_of(corpus):
        path.with_suffix(".txt").write_text("notes")
    prepare_esc50(corpus, tmp_path / "m", 2)
    clips = read_manifest(tmp_path / "m" / "fold2" / "test.csv")
    assert [clip.duration for clip in clips] == [0.1] * 4


def test_the_data_folder_is_never_written(corpus, tmp_path):
    before = files_with_times(corpus)
    folders = [corpus, corpus / "audio", corpus / "meta"]
    for folder in folders:
        folder.chmod(0o555)
    try:
        prepare_esc50(corpus, tmp_path / "m", 1)
    finally:
        for folder in folders:
            folder.chmod(0o755)
    assert files_with_times(corpus) == before


# ---- again


def test_nothing_is_done_twice(corpus, tmp_path, monkeypatch):
    folder = tmp_path / "m"
    prepare_esc50(corpus, folder, 1)
    before = files_with_times(folder)
    monkeypatch.setattr(preparation, "scan_audio", None)  # no audio file is opened
    prepare_esc50(str(corpus), str(folder), 1)
    assert files_with_times(folder) == before


def test_folds_share_the_resampled_audio(corpus, tmp_path):
    prepare_esc50(corpus, tmp_path / "m", 1)
    audio = files_with_times(tmp_path / "m" / "audio_16000")
    inodes = {path: path.stat().st_ino for path in audio}
    prepare_esc50(corpus, tmp_path / "m", 2)
    assert files_with_times(tmp_path / "m" / "audio_16000") == audio
    assert {path: path.stat().st_ino for path in audio} == inodes  # none was written again
    assert sorted(path.name for path in (tmp_path / "m").iterdir()) == [
        "audio_16000",
        "fold1",
        "fold2",
    ]


@pytest.mark.parametrize(
    "change",
    [
        lambda corpus, options: options.update(sample_rate=8000),
        lambda corpus, options: options.update(max_rejected=0.5),
        lambda corpus, options: edit_meta(corpus, lambda lines: lines[:-1]),
        lambda corpus, options: edit_meta(corpus, lambda lines: [*lines[:20], lines[20] + "B"]),
        lambda corpus, options: os.utime(audio_of(corpus)[0], (1, 1)),
        lambda corpus, options: soundfile.write(audio_of(corpus)[0], np.ones(99), 8000),
    ],
)
def test_other_options_or_data_are_prepared_anew(corpus, tmp_path, change):
    prepare_esc50(corpus, tmp_path / "m", 1)
    mark = (tmp_path / "m" / "fold1" / "prepared.json").read_text()
    options = {}
    change(corpus, options)
    prepare_esc50(corpus, tmp_path / "m", 1, **options)
    assert (tmp_path / "m" / "fold1" / "prepared.json").read_text() != mark


def test_resampled_audio_that_was_lost_is_made_again(corpus, tmp_path):
    prepare_esc50(corpus, tmp_path / "m", 1)
    audio = files_with_times(tmp_path / "m" / "audio_16000")
    inodes = {path: path.stat().st_ino for path in audio}
    lost, *others = audio
    lost.unlink()
    prepare_esc50(corpus, tmp_path / "m", 1)
    assert files_with_times(tmp_path / "m" / "audio_16000") == audio
    assert {path.stat().st_ino for path in others} == {inodes[path] for path in others}


@pytest.mark.parametrize("interrupted", ["soundfile.write", "write_manifest", "mark_prepared"])
def test_an_interrupted_preparation_is_taken_up_again(corpus, tmp_path, monkeypatch, interrupted):
    calls = []

    def power_cut(original, *args, **kwargs):
        calls.append(args)
        if len(calls) > 1 or interrupted == "mark_prepared":
            raise OSError("the power failed")
        return original(*args, **kwargs)

    with monkeypatch.context() as context:
        module, name = preparation, interrupted
        if interrupted == "soundfile.write":
            module, name = soundfile, "write"
        context.setattr(module, name, partial(power_cut, getattr(module, name)))
        with pytest.raises(OSError, match="the power failed"):
            prepare_esc50(corpus, tmp_path / "m", 1)
    assert not (tmp_path / "m" / "fold1" / "prepared.json").exists()
    assert not list((tmp_path / "m").rglob("*.part"))
    prepare_esc50(corpus, tmp_path / "m", 1)
    prepare_esc50(corpus, tmp_path / "whole", 1)
    for name in ("train.csv", "test.csv", "classes.txt", "rejected.csv"):
        after, expected = (tmp_path / folder / "fold1" / name for folder in ("m", "whole"))
        assert after.read_text().replace("/m/", "/whole/") == expected.read_text()


# ---- bad data


def spoil(corpus):
    """Makes files bad; returns what is to be found in the reasons."""
    paths = audio_of(corpus)[:2]
    soundfile.write(paths[0], np.full(22050, np.nan), 44100, subtype="FLOAT")
    paths[1].write_bytes(paths[1].read_bytes()[:20_000])
    return dict(zip(map(str, paths), ["not finite", "cut off"], strict=True))


def test_bad_files_are_left_out_and_listed_with_the_reason(corpus, tmp_path, caplog):
    bad = spoil(corpus)
    with caplog.at_level(logging.INFO):
        prepare_esc50(corpus, tmp_path / "m", 1, max_rejected=0.1)
    folder = tmp_path / "m" / "fold1"
    with open(folder / "rejected.csv", newline="") as file:
        rejected = {row["path"]: row["reason"] for row in csv.DictReader(file)}
    assert list(rejected) == list(bad)
    for path, reason in rejected.items():
        assert path in reason and bad[path] in reason
    clips = [clip for name in ("train", "test") for clip in read_manifest(folder / f"{name}.csv")]
    good = {path.stem for path in audio_of(corpus)} - {Path(path).stem for path in bad}
    assert {clip.id for clip in clips} == good and len(clips) == 18
    assert f"2 of 20 files left out as unusable, see {folder / 'rejected.csv'}: " in caplog.text


def test_too_many_bad_files_end_the_preparation(corpus, tmp_path):
    spoil(corpus)
    with pytest.raises(ValueError, match="2 of 20 audio files cannot be used.*rejected.csv"):
        prepare_esc50(corpus, tmp_path / "m", 1, max_rejected=0.09)
    assert [path.name for path in (tmp_path / "m" / "fold1").iterdir()] == ["rejected.csv"]


def test_silence_and_odd_lengths_are_reported_and_kept(tmp_path, caplog):
    corpus = make_esc50(tmp_path / "corpus", num_classes=2, duration=5.0, sample_rate=8000)
    silent, short = audio_of(corpus)[:2]
    soundfile.write(silent, np.zeros(40000), 8000)
    soundfile.write(short, np.full(20000, 0.1), 8000)
    with caplog.at_level(logging.INFO):
        prepare_esc50(corpus, tmp_path / "m", 1)
    warnings = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert warnings == [f"1 of 10 files kept though silent throughout: {silent.name}"]
    assert log_line(caplog, "test").endswith("2.50 s 5.00 s")
    assert len(read_manifest(tmp_path / "m" / "fold1" / "test.csv")) == 2


def log_line(caplog, begin):
    """The words of the line of the log that begins so, joined by single blanks."""
    lines = [line for line in caplog.text.splitlines() if line.split()[:1] == [begin]]
    assert len(lines) == 1
    return " ".join(lines[0].split())


def test_counts_are_logged_beside_the_published_ones(corpus, tmp_path, caplog):
    edit_meta(corpus, lambda lines: lines[:-1])  # a clip of the last class in fold 5
    with caplog.at_level(logging.INFO):
        prepare_esc50(corpus, tmp_path / "m", 5)
    assert log_line(caplog, "train").startswith("train 16 320 304 ")
    assert log_line(caplog, "test").startswith("test 3 80 77 ")
    assert log_line(caplog, "pretrain").startswith("pretrain 14 0.00 ")
    assert "\n4 of 10 classes\n" in caplog.text
    first, *_, last = (tmp_path / "m" / "fold5" / "classes.txt").read_text().splitlines()
    assert log_line(caplog, first).split()[1:3] == ["4", "1"]
    assert log_line(caplog, last).split()[1:3] == ["4", "0"]


@pytest.mark.parametrize(("num_classes", "name"), [(1, "ESC-10"), (10, "ESC-10"), (11, "ESC-50")])
def test_the_number_of_classes_tells_the_corpus(tmp_path, num_classes, name):
    corpus = make_esc50(tmp_path / "corpus", num_classes=num_classes, duration=0.05)
    for _ in ("first", "prepared already"):
        assert prepare_esc50(corpus, tmp_path / "m", 1) == name


def test_results_name_the_corpus(run_recipe, esc50_options, tmp_path):
    options = {"embed_dim": 64, "depth": 1, "num_heads": 1, "target_length": 64, "num_workers": 0}
    options |= {"num_masked_patches": 20, "num_steps": 1, "output_folder": tmp_path}
    words = [word for key, value in options.items() for word in (f"--{key}", value)]
    hparams_file = PATH.parent / "hparams" / "pretrain_patch.yaml"
    assert run_recipe("ESC50", hparams_file, *esc50_options, *words).results["dataset"] == "ESC-10"


def test_more_than_ten_classes_are_compared_with_esc50(tmp_path, caplog):
    corpus = make_esc50(tmp_path / "corpus", num_classes=11, duration=0.05)
    with caplog.at_level(logging.INFO):
        prepare_esc50(corpus, tmp_path / "m", 5)
    assert log_line(caplog, "train").startswith("train 44 1,600 1,556 ")
    assert log_line(caplog, "test").startswith("test 11 400 389 ")
    assert "\n11 of 50 classes\n" in caplog.text


@pytest.mark.parametrize("missing", ["audio", "meta"])
def test_a_folder_that_is_not_esc50_says_what_is_expected(corpus, tmp_path, missing):
    shutil.rmtree(corpus / missing)
    with pytest.raises(FileNotFoundError, match="corpus is not ESC-50: .*meta/esc50.csv.*github"):
        prepare_esc50(corpus, tmp_path / "m", 1)


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda lines: ["filename,category", *lines[1:]], r"column\(s\) fold, target are missing"),
        (lambda lines: [], "filename, fold, target, category are missing"),
        (
            lambda lines: [*lines, "a.wav,one,0,dog"],
            "esc50.csv, line 22: fold 'one' and target '0' are to be integers",
        ),
        (lambda lines: [*lines, "a.wav,1"], "line 22: fold '1' and target None"),
        (lambda lines: [*lines, "a.wav,6,0,tone_0"], "line 22: ESC-50 has folds 1 to 5, not 6"),
        (lambda lines: [*lines, lines[1]], "line 22: 1-100000-A-0.wav is listed twice"),
        (
            lambda lines: [*lines, "a.wav,1,0,dog"],
            "line 22: target 0 is 'dog' here, 'tone_0' above",
        ),
        (lambda lines: [*lines, "a.wav,1,9,tone_0"], "not in .*a.wav"),
    ],
)
def test_errors_of_the_list_name_file_and_line(corpus, tmp_path, edit, message):
    edit_meta(corpus, edit)
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        prepare_esc50(corpus, tmp_path / "m", 1)
    assert not (tmp_path / "m").exists()


def test_a_category_of_two_numbers_is_an_error(corpus, tmp_path):
    edit_meta(corpus, lambda lines: [line.replace("noise_0", "tone_0") for line in lines])
    with pytest.raises(ValueError, match="the category 'tone_0' has several targets"):
        prepare_esc50(corpus, tmp_path / "m", 1)


def test_files_that_are_listed_but_absent_are_counted_and_named(corpus, tmp_path):
    absent = audio_of(corpus)[3:8]
    for path in absent:
        path.unlink()
    first = ", ".join(path.name for path in absent[:3])
    with pytest.raises(FileNotFoundError, match=f"5 of the 20 files .*esc50.csv.*{first}, …"):
        prepare_esc50(corpus, tmp_path / "m", 1)


# ---- as recipes use it


def test_a_recipe_imports_it_from_its_own_folder_and_runs_it_on_the_main_process(
    corpus, tmp_path, monkeypatch
):
    monkeypatch.syspath_prepend(str(PATH.parent))
    monkeypatch.delitem(sys.modules, "esc50_prepare", raising=False)
    from esc50_prepare import prepare_esc50 as imported

    options = {"data_folder": corpus, "manifest_folder": tmp_path / "m", "test_fold": 3}
    assert run_on_main(imported, kwargs=options) == "ESC-10"
    assert len(read_manifest(tmp_path / "m" / "fold3" / "train.csv")) == 16


@pytest.fixture
def server(tmp_path, monkeypatch):
    """`server.serve(corpus)` offers it as GitHub does; `.requests` lists what was asked for."""
    served = tmp_path / "served"
    served.mkdir()
    requests = []

    class Handler(SimpleHTTPRequestHandler):
        def log_message(self, *_):
            requests.append(self.path)

    def serve(corpus):
        shutil.copytree(corpus, tmp_path / "pack" / "ESC-50-master")
        archive = shutil.make_archive(
            str(served / "master"), "zip", tmp_path / "pack", "ESC-50-master"
        )
        shutil.rmtree(tmp_path / "pack")
        return Path(archive)

    published = esc50_prepare.Corpus("ESC-50", num_classes=4, clips_per_fold=4)
    monkeypatch.setattr(esc50_prepare, "ESC50", published)
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(served))) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        url = f"http://127.0.0.1:{server.server_port}/master.zip"
        monkeypatch.setattr(esc50_prepare, "URL", url)
        yield SimpleNamespace(serve=serve, requests=requests)
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("folder_is_there", [False, True])
def test_the_corpus_is_downloaded_once(corpus, tmp_path, server, folder_is_there):
    server.serve(corpus)
    data_folder = tmp_path / "data"
    if folder_is_there:
        (data_folder / "ESC-50-master.unchecked" / "audio").mkdir(parents=True)  # was killed
    prepare_esc50(data_folder, tmp_path / "m", 1, download=True)
    assert [path.name for path in data_folder.iterdir()] == ["ESC-50-master"]
    assert len(audio_of(data_folder / "ESC-50-master")) == 20
    assert len(read_manifest(tmp_path / "m" / "fold1" / "train.csv")) == 16
    prepare_esc50(data_folder, tmp_path / "m", 2, download=True)
    prepare_esc50(data_folder, tmp_path / "m", 3)
    prepare_esc50(data_folder / "ESC-50-master", tmp_path / "m", 4)
    assert server.requests == ["/master.zip"]


def another_class(corpus):
    edit_meta(corpus, lambda lines: [*lines[:-1], lines[-1].replace("3,clicks_0", "4,dog")])


def another_fold(corpus):
    edit_meta(corpus, lambda lines: [*lines[:-1], lines[-1].replace("wav,5", "wav,4")])


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda corpus: edit_meta(corpus, lambda lines: lines[:-1]), "4 classes, 4/4/4/4/3 clips"),
        (another_class, "lists 5 classes, 4/4/4/4/4 clips per fold; published are 4 and 4 each"),
        (another_fold, "lists 4 classes, 4/4/4/5/3 clips per fold"),
        (lambda corpus: audio_of(corpus)[0].unlink(), "1 of the 20 files .* are not in"),
        (lambda corpus: audio_of(corpus)[0].write_text("version 1"), "1 of 20 files .*readable"),
        (lambda corpus: shutil.rmtree(corpus / "meta"), "meta/esc50.csv or audio/ is missing"),
    ],
)
def test_a_download_of_another_content_is_refused_and_a_second_try_works(
    corpus, tmp_path, server, spoil, message
):
    bad = shutil.copytree(corpus, tmp_path / "bad")
    spoil(bad)
    server.serve(bad)
    with pytest.raises(ValueError, match=f"cannot be used and was deleted, .*{message}") as error:
        prepare_esc50(tmp_path / "data", tmp_path / "m", 1, download=True)
    assert "\n" not in str(error.value)
    assert not list((tmp_path / "data").iterdir())
    server.serve(corpus)
    prepare_esc50(tmp_path / "data", tmp_path / "m", 1, download=True)
    assert server.requests == ["/master.zip"] * 2


def test_a_download_with_a_wrong_byte_is_refused(corpus, tmp_path, server):
    archive = server.serve(corpus)
    with zipfile.ZipFile(archive) as file:
        member = max(file.infolist(), key=lambda member: member.compress_size)
    content = bytearray(archive.read_bytes())
    content[member.header_offset + member.compress_size // 2] ^= 1
    archive.write_bytes(content)
    with pytest.raises(ValueError, match="cannot be used and was deleted, try again: .*is broken"):
        prepare_esc50(tmp_path / "data", tmp_path / "m", 1, download=True)
    assert not list((tmp_path / "data").iterdir())


def test_the_archive_can_be_pinned(corpus, tmp_path, server):
    digest = hashlib.sha256(server.serve(corpus).read_bytes()).hexdigest()
    options = {"test_fold": 1, "download": True}
    with pytest.raises(ValueError, match=f"its sha256 is {digest}, not 0000"):
        prepare_esc50(tmp_path / "data", tmp_path / "m", **options, download_sha256="0" * 64)
    assert not list((tmp_path / "data").iterdir())
    prepare_esc50(tmp_path / "data", tmp_path / "m", **options, download_sha256=digest)


def test_a_folder_in_the_way_of_a_download_is_kept(tmp_path, server):
    note = tmp_path / "data" / "ESC-50-master" / "note.txt"
    note.parent.mkdir(parents=True)
    note.touch()
    with pytest.raises(FileExistsError, match="ESC-50-master holds another thing than ESC-50"):
        prepare_esc50(tmp_path / "data", tmp_path / "m", 1, download=True)
    assert note.exists() and not server.requests


def test_the_published_corpora_have_as_many_clips_of_every_class():
    for corpus in (esc50_prepare.ESC10, esc50_prepare.ESC50):
        assert 5 * corpus.clips_per_fold == 40 * corpus.num_classes


def test_esc10_is_prepared(shared_folder, tmp_path):
    corpus = shared_folder / "data" / "ESC-10"
    if not corpus.is_dir():
        pytest.skip(f"no folder {corpus}")
    assert prepare_esc50(corpus, tmp_path, 1) == "ESC-10"
    train, test = (
        read_manifest(tmp_path / "fold1" / f"{split}.csv") for split in ("train", "test")
    )
    assert (len(train), len(test)) == (320, 80)
    assert set(Counter(clip.labels for clip in test).values()) == {8}
    assert {clip.sample_rate for clip in train + test} == {16000}
    classes = (tmp_path / "fold1" / "classes.txt").read_text().splitlines()
    assert classes[:3] == ["dog", "rooster", "rain"] and len(classes) == 10


def test_every_tenth_training_clip_is_held_out_from_pretraining(tmp_path):
    corpus = make_esc50(tmp_path / "corpus", duration=0.1)
    prepare_esc50(corpus, tmp_path / "manifests", test_fold=2)
    train, pretrain, held_out = (
        [clip.id for clip in read_manifest(tmp_path / f"manifests/fold2/{split}.csv")]
        for split in ("train", "pretrain", "held_out")
    )
    assert held_out == [train[0], train[10]]
    assert sorted(pretrain + held_out) == sorted(train)
