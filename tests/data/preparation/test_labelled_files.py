"""Labels in the layouts that people have them in, and what is told of them."""

import hashlib
import os
import unicodedata

import pytest

from ssast_recipes.data.headers import AudioInfo
from ssast_recipes.data.preparation.background import add_background
from ssast_recipes.data.preparation.label_report import describe_labels, find_warnings
from ssast_recipes.data.preparation.labelled_files import (
    check_there,
    files_digest,
    read_labelled_files,
)
from ssast_recipes.data.preparation.splitting import LabelledFile, split_files


@pytest.fixture
def lay_out(tmp_path):
    """Makes files by name, with text in them or nothing."""

    def make(*names, **texts):
        for name in names:
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).touch()
        return tmp_path

    return make


def told_of(source):
    notes = []
    files = read_labelled_files(source, notes)
    rows = {os.path.relpath(file.path, source): (*file.labels, file.split) for file in files}
    return rows, notes


# ---- class folders


def test_folders_of_splits_are_splits(lay_out):
    names = ["Train/dog/a.wav", "train/sea/b.wav", "val/dog/deep/c.wav", "TEST/sea/d.wav"]
    rows, notes = told_of(lay_out(*names))
    assert rows == {
        "Train/dog/a.wav": ("dog", "train"),
        "train/sea/b.wav": ("sea", "train"),
        "val/dog/deep/c.wav": ("dog", "valid"),
        "TEST/sea/d.wav": ("sea", "test"),
    }
    assert notes == [
        "folders taken for splits: TEST (test), Train (train), train (train), val (valid)"
    ]


def test_a_class_may_be_called_train(lay_out):
    rows, _ = told_of(lay_out("train/a.wav", "dog/b.wav", "dog/c.wav"))
    assert rows["train/a.wav"] == ("train", "") and rows["dog/b.wav"] == ("dog", "")


@pytest.mark.parametrize(
    ("names", "line"),
    [
        (["train/a.wav", "test/b.wav"], "test: audio lies in the folder of a split, .*CLASS/a.wav"),
        (["train/x/a.wav", "test/y/b.wav", "more/z/c.wav"], "there are others: more; move these"),
    ],
)
def test_half_a_layout_of_splits_is_refused(lay_out, names, line):
    with pytest.raises(ValueError, match=line):
        read_labelled_files(lay_out(*names))


def test_what_nobody_put_there_is_no_class(lay_out):
    names = ["dog/a.wav", "sea/b.wav", "loose.wav"]
    hidden = [".ipynb_checkpoints/c.wav", "__MACOSX/dog/d.wav", "dog/.trash/e.wav"]
    rows, notes = told_of(lay_out(*names, *hidden))
    assert rows == {"dog/a.wav": ("dog", ""), "sea/b.wav": ("sea", "")}
    (note,) = [note for note in notes if "no class folder" in note]
    assert note.startswith("1 audio file(s) in no class folder are left out")


# ---- tables


def write(folder, text, name="labels.csv"):
    (folder / name).write_text(text, newline="", encoding="utf-8")
    return folder / name


@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_any_separator_will_do(tmp_path, separator):
    rows = [("path", "label", "split"), ("a.wav", '"dog;sea"', "dev"), ("b.wav", "sea", "train")]
    table = write(tmp_path, "".join(f"{separator.join(row)}\r\n" for row in rows))
    first, second = read_labelled_files(table)
    assert (first.labels, first.split) == (("dog", "sea"), "valid")
    assert (second.labels, second.split) == (("sea",), "train")


def test_other_names_of_splits(tmp_path):
    splits = ["train", "val", "Validation", "dev", "valid", "test"]
    rows = "".join(
        f"{number}.wav,{'ab'[number % 2]},{split}\n" for number, split in enumerate(splits)
    )
    files = read_labelled_files(write(tmp_path, f"path,label,split\n{rows}"))
    assert [file.split for file in files] == ["train", "valid", "valid", "valid", "valid", "test"]


def test_none_of_several_labels_is_a_negative(tmp_path):
    text = "path,label\na.wav,dog;sea\nb.wav,\nc.wav,sea\n"
    files = read_labelled_files(write(tmp_path, text))
    assert [file.labels for file in files] == [("dog", "sea"), (), ("sea",)]
    table = describe_labels({"train": files, "valid": [], "test": []})
    assert "(none of them)           1             0       0" in table
    with pytest.raises(ValueError, match="line 3: a path and a label are needed; none is for tab"):
        read_labelled_files(write(tmp_path, text.replace("dog;", "")))


def test_stretches_are_clips(tmp_path):
    text = "path,label,start,end\nb.wav,dog,2,3.5\nb.wav,sea,0.5,1\nb.wav,cow,0.5,1\na.wav,sea,,\n"
    files = read_labelled_files(write(tmp_path, f"{text}c.wav,cow,4,\n"))
    assert [(file.labels, file.start, file.duration) for file in files] == [
        (("sea",), 0.0, None),
        (("sea", "cow"), 0.5, 0.5),
        (("dog",), 2.0, 1.5),
        (("cow",), 4.0, None),
    ]


def test_a_table_that_moved_says_where_paths_begin(tmp_path):
    files = read_labelled_files(write(tmp_path, "path,label\nx/a.wav,dog\nb.wav,sea\n"))
    with pytest.raises(FileNotFoundError) as raised:
        check_there(tmp_path / "labels.csv", files)
    assert f"none of its 2 audio files is there, such as {tmp_path}/b.wav" in str(raised.value)
    assert f"relative paths begin at the table's own folder, {tmp_path}:" in str(raised.value)
    (tmp_path / "b.wav").touch()
    check_there(tmp_path / "labels.csv", files)


# ---- label tracks


def test_tracks_of_audacity(lay_out):
    folder = lay_out("a.wav", "deep/b.wav", "c.wav", "notes.txt")
    track = "\ufeff0,5\t2.5\tdog\r\n\\\t100\t2000\r\n0.5\t2.5\tsea\r\n\r\n3\t4\tthe sea\r\n"
    (folder / "a.txt").write_text(track, newline="")
    (folder / "deep" / "b.txt").write_text("1\t2\tdog\n")
    notes = []
    files = read_labelled_files(folder, notes)
    assert [(os.path.basename(file.path), *file[1:]) for file in files] == [
        ("a.wav", ("dog", "sea"), "", "", 0.5, 2.0),
        ("a.wav", ("the sea",), "", "", 3.0, 1.0),
        ("b.wav", ("dog",), "", "", 1.0, 1.0),
    ]
    assert notes[0] == "2 recording(s) have label tracks"
    assert notes[1].startswith("1 recording(s) without a label track are left out, such as ")


RAVEN = "Selection\tView\tChannel\tBegin Time (s)\tEnd Time (s)\tLow Freq (Hz)\tAnnotation\n"


def test_selection_tables_of_raven(lay_out):
    folder = lay_out("train/a.wav", "test/b.flac")
    rows = "1\tWaveform 1\t1\t0.5\t2\t100\tdog\n1\tSpectrogram 1\t1\t0.5\t2\t100\tdog\n"
    (folder / "train" / "a.Table.1.selections.txt").write_text(RAVEN + rows)
    rows = "1\tSpectrogram 1\t1\t3\t4.25\t100\tsea\n2\tSpectrogram 1\t1\t5\t6\t100\tdog\n"
    (folder / "test" / "b.selections.txt").write_text(RAVEN + rows)
    files = read_labelled_files(folder)
    assert [(file.labels, file.split, file.start, file.duration) for file in files] == [
        (("sea",), "test", 3.0, 1.25),
        (("dog",), "test", 5.0, 1.0),
        (("dog",), "train", 0.5, 1.5),
    ]


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("0\t1\tdog\n2\t2\tsea\n", "a.txt, line 2: 2 to 2 s is no stretch; give the label a start"),
        ("0\t1\tdog\n2 3 sea\n", "a.txt, line 2: expected start, end and label, separated by tabs"),
        ("0\t1\tdog\n2\t3\t\n", "a.txt, line 2: the label '' is empty"),
        ("0\t1\tdog\n0\t1\tdog\n", "a.txt, line 2: this stretch has the label 'dog' twice"),
        ("0\t1\tdog\n0\tinf\tsea\n", "line 2: 0 to inf s is no stretch"),
        (RAVEN.replace("Annotation", "Note"), "needs the columns Begin Time .s., End Time .s. and"),
        (f"{RAVEN}1\tWaveform 1\t1\t0\tx\t1\tdog\n", "a.txt, line 2: '0' or 'x' is not a number"),
        (
            f"{RAVEN}1\tWaveform 1\t1\t0\t1\t1\tdog\n1\tSpectrogram 1\t1\t0\t2\t1\tdog\n",
            "line 3: selection 1 was there before, otherwise",
        ),
        (
            RAVEN.replace("View", "Begin File") + "1\tb.wav\t1\t0\t1\t1\tdog\n",
            "line 2: this selection is of b.wav .Begin File., the table lies beside a.wav",
        ),
    ],
)
def test_wrong_tracks_are_told_by_their_line(lay_out, text, line):
    folder = lay_out("a.wav")
    (folder / "a.txt").write_text(text)
    with pytest.raises(ValueError, match=line):
        read_labelled_files(folder)


def test_texts_beside_class_folders_are_no_tracks(lay_out):
    folder = lay_out("dog/a.wav", "sea/b.wav")
    (folder / "dog" / "a.txt").write_text("a transcript\n")
    assert told_of(folder)[0] == {"dog/a.wav": ("dog", ""), "sea/b.wav": ("sea", "")}


def stretches(*places, path="/a.wav"):
    return [
        LabelledFile(path, (label,), "", "", float(start), float(end - start))
        for start, end, label in places
    ]


def test_what_is_between_labels_is_background():
    files = stretches((1, 3, "dog"), (2, 4, "sea"), (8, 10, "dog"))
    found = {"/a.wav": AudioInfo(1100, 100, 1)}
    both, told = add_background(files, found, "none")
    added = [(file.start, file.duration) for file in both if file.labels == ("none",)]
    # Free are 0 to 1, 4 to 8 and 10 to 11 s; the commonest class has two stretches.
    assert set(added) < {(0.0, 1.0), (4.0, 2.0), (6.0, 2.0), (10.0, 1.0)} and len(added) == 2
    assert told.startswith("2 of 4 unlabelled stretches of 2 s")
    assert add_background(files, found, "none", seed=0)[0] == both
    more = [*files, *stretches((0, 2, "sea"), path="/b.wav")]
    both, _ = add_background(more, found | {"/b.wav": AudioInfo(900, 100, 1)}, "none")
    added = [file.path for file in both if file.labels == ("none",)]
    assert added == ["/a.wav", "/b.wav"]  # one of each, though the first has more
    several = [*files, files[0]._replace(labels=("cat", "dog"), start=20.0)]
    both, _ = add_background(several, found, "none")
    assert sum(file.labels == () for file in both) == 3
    for wrong, line in ((files, "'dog' is a class already"), ([], "there are no labelled")):
        with pytest.raises(ValueError, match=line):
            add_background(wrong, found, "dog")


# ---- splits, groups and folds


def by_speaker(num_speakers=10, each=6):
    return [
        LabelledFile(f"/{speaker}_{number}.wav", ("ab"[number % 2],), "", f"speaker {speaker}")
        for speaker in range(num_speakers)
        for number in range(each)
    ]


def groups(parts):
    return {split: {file.group or file.path for file in part} for split, part in parts.items()}


def test_no_group_is_in_two_splits():
    files = by_speaker()
    for seed in range(3):
        parts, told = split_files(files, seed)
        assert {split: len(part) for split, part in parts.items()} == {
            "train": 42,
            "valid": 6,
            "test": 12,
        }
        of = groups(parts)
        assert not (
            of["train"] & of["test"] or of["train"] & of["valid"] or of["valid"] & of["test"]
        )
        assert told.endswith("drawn from each class, by 10 groups")
    assert split_files(files, 1)[0] != split_files(files, 2)[0]
    # Of few groups, too: the test gets one.
    parts, told = split_files(by_speaker(2))
    assert len(groups(parts)["test"]) == len(groups(parts)["train"]) == 1
    assert parts["valid"] is parts["test"] and "too few for validation" in told
    with pytest.raises(ValueError, match="no file for test"):
        split_files(by_speaker(1))


def test_given_splits_may_not_tear_a_group():
    files = [
        file._replace(split="test" if file.group[-1] == "0" else "train") for file in by_speaker()
    ]
    parts, _ = split_files(files)
    assert groups(parts)["test"] == {"speaker 0"}
    assert groups(parts)["valid"].isdisjoint(groups(parts)["train"]) and parts["valid"]
    files[0] = files[0]._replace(split="train")
    with pytest.raises(ValueError, match="the group 'speaker 0' is in train and in test: the test"):
        split_files(files)


def test_stretches_of_a_recording_stay_together():
    files = [
        stretch
        for number in range(10)
        for stretch in stretches((0, 1, "a"), (1, 2, "b"), path=f"/{number}.wav")
    ]
    parts, told = split_files(files)
    assert {split: len(part) for split, part in parts.items()} == {
        "train": 14,
        "valid": 2,
        "test": 4,
    }
    paths = {split: {file.path for file in part} for split, part in parts.items()}
    assert len(paths["train"]) == 7 and not paths["train"] & (paths["valid"] | paths["test"])
    assert "by 10 recordings" in told


@pytest.mark.parametrize("with_groups", [True, False])
def test_every_file_is_tested_in_one_fold(with_groups):
    files = by_speaker()
    if not with_groups:
        files = [file._replace(group="") for file in files]
    tested = []
    for fold in range(1, 6):
        parts, told = split_files(files, 1, fold, 5)
        assert told.startswith(f"fold {fold} of 5 for test")
        assert len(parts["test"]) == 12
        assert sum(file.labels == ("a",) for file in parts["test"]) == 6
        of = groups(parts)
        assert not of["train"] & (of["test"] | of["valid"]) and not of["valid"] & of["test"]
        assert sum(map(len, parts.values())) == len(files) and parts["valid"]
        tested += parts["test"]
    assert sorted(tested) == sorted(files)


@pytest.mark.parametrize(
    ("changes", "fold", "folds", "line"),
    [
        ({}, 1, 11, "10 groups cannot be dealt to 11 folds; give --folds a number from 2 to 10"),
        ({}, 1, 1, "cannot be dealt to 1 folds"),
        ({}, 6, 5, "there are folds 1 to 5, not 6"),
        ({"split": "train"}, 1, 5, "folds deal anew what has splits"),
    ],
)
def test_folds_that_cannot_be(changes, fold, folds, line):
    files = [file._replace(**changes) for file in by_speaker()]
    with pytest.raises(ValueError, match=line):
        split_files(files, 1, fold, folds)


def test_a_test_set_may_be_left_out():
    files = [LabelledFile(f"/{n}", ("ab"[n % 2],), "train") for n in range(40)]
    parts, told = split_files(files)
    assert (len(parts["train"]), len(parts["valid"])) == (36, 4) and parts["test"] is parts["valid"]
    assert told.endswith("no test files: tested on the validation files")
    files[:8] = [file._replace(split="valid") for file in files[:8]]
    parts, _ = split_files(files)
    assert (len(parts["train"]), len(parts["valid"])) == (32, 8) and parts["test"] is parts["valid"]


def test_runs_of_before_there_were_groups_go_on():
    files = [LabelledFile("/a.wav", ("dog",), "train")]
    before = hashlib.sha256(b'[["/a.wav", ["dog"], "train"]]').hexdigest()
    assert files_digest(files) == before
    assert files_digest([files[0]._replace(start=1.0)]) != files_digest(files)


# ---- what is told


@pytest.mark.parametrize(
    ("names", "reason"),
    [
        (("dog", "Dog"), "(capitals)"),
        (("Käfer", unicodedata.normalize("NFD", "Käfer")), "(Unicode NFC or NFD)"),
        (("dog", "d\u200bog"), "(zero-width characters)"),
        (("sea lion", "sea_lion"), "(blanks)"),
        (("sea lion", "Sea  Lion"), "(capitals, blanks)"),
        (("dog", "dogs"), None),
    ],
)
def test_classes_that_look_alike_are_told(names, reason):
    splits = {"train": [LabelledFile(f"/{name}/x.wav", (name,)) for name in names]}
    lines = find_warnings(splits)
    assert len(lines) == bool(reason)
    assert not reason or f" look alike {reason}; if they are one" in lines[0]


def test_a_class_without_training_files_is_told():
    files = [LabelledFile(f"/{name}.wav", (name,)) for name in ("dog", "sea")]
    splits = {"train": files[:1], "valid": [], "test": files[1:]}
    assert find_warnings(splits) == [
        "no training file has the label 'sea', which no classifier can learn then"
    ]


def numbered(pattern, label, count=4):
    return [LabelledFile(pattern.format(n), (label,)) for n in range(count)]


def test_clips_of_a_recording_in_two_splits_are_told():
    dogs = numbered("/a/yard_{:03}.wav", "dog") + numbered("/a/park_{:03}.wav", "dog")
    seas = numbered("/a/sea-{}.wav", "sea")  # numbered by class: no recording
    whole = {"train": [*dogs[:4], *seas[:2]], "valid": [], "test": [*dogs[4:], *seas[2:]]}
    assert find_warnings(whole) == []
    torn = {**whole, "train": [*dogs[:5], *seas[:2]], "test": [*dogs[5:], *seas[2:]]}
    (line,) = find_warnings(torn)
    assert "(1 such series, the first: /a/park…)" in line and "a column group keeps them" in line
    grouped = {split: [f._replace(group=f.path) for f in part] for split, part in torn.items()}
    assert find_warnings(grouped) == []


def test_stretches_over_each_other_are_told():
    files = stretches((0, 2, "dog"), (1, 3, "sea"), (3, 4, "dog"), (5, 9, "sea"), (6, 7, "sea"))
    assert find_warnings({"train": files}) == [
        "1 labelled stretches overlap others with other labels, and are given their own alone"
    ]
