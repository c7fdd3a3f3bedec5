import pytest
from speechbrain.dataio.dataset import DynamicItemDataset

from ssast_recipes.data.manifest import Clip, read_manifest, write_manifest

HEADER = "ID,path,start,duration,sample_rate,labels\n"


def clips() -> list[Clip]:
    return [
        Clip("a", "/data/a, really.wav", 0.0, 5.0, 44100, ("dog",), {"fold": "1"}),
        Clip('b "quoted"', "/data/ö.wav", 1.25, 1 / 3, 16000, ("dog", "rain, light"), {"fold": ""}),
        Clip("c", "/data/c.wav", 10.0, 0.1, 8000, (), {"fold": "3"}),
    ]


def test_reading_gives_back_what_was_written(tmp_path):
    path = tmp_path / "new" / "folder" / "train.csv"
    write_manifest(path, clips())
    assert read_manifest(path) == clips()
    assert path.read_text(encoding="utf-8").startswith("ID,path,start,duration,sample_rate,labels,")
    assert [item.name for item in path.parent.iterdir()] == ["train.csv"]


def test_speechbrain_loads_a_manifest(tmp_path):
    write_manifest(tmp_path / "train.csv", clips())
    dataset = DynamicItemDataset.from_csv(tmp_path / "train.csv")
    dataset.set_output_keys(["id", "path", "duration", "labels", "fold"])
    assert dataset[1] == {
        "id": 'b "quoted"',
        "path": "/data/ö.wav",
        "duration": 1 / 3,
        "labels": "dog;rain, light",
        "fold": "",
    }
    assert len(dataset) == 3


def test_two_clips_of_one_id_are_refused_and_the_old_file_stays(tmp_path):
    path = tmp_path / "train.csv"
    write_manifest(path, clips())
    with pytest.raises(ValueError, match=r"train.csv: two clips have the ID a, .* /data/other.wav"):
        write_manifest(path, [*clips(), Clip("a", "/data/other.wav", 0.0, 1.0, 16000)])
    assert read_manifest(path) == clips()


def test_clips_must_agree_on_their_extra_columns(tmp_path):
    other = Clip("d", "/d.wav", 0.0, 1.0, 16000, (), {"speaker": "7"})
    with pytest.raises(ValueError, match="clip d has the extra columns .'speaker',., .*'fold'"):
        write_manifest(tmp_path / "train.csv", [*clips(), other])
    with pytest.raises(ValueError, match="repeat one of"):
        write_manifest(tmp_path / "a.csv", [Clip("a", "/a", 0.0, 1.0, 1, (), {"start": "1"})])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"labels": ("dog", "cat;cow")}, "clip a: the label 'cat;cow' .* ';'"),
        ({"labels": ("",)}, "the label '' is empty"),
        ({"labels": (" dog",)}, "the label ' dog'"),
        ({"path": "audio/a.wav"}, "'audio/a.wav' is not absolute"),
        ({"labels": ("$a",)}, "holds a '.name'"),
        ({"path": "/data/T\udcf6ne.wav"}, r"'/data/T\\udcf6ne.wav' is not named in UTF-8"),
        ({"id": ""}, "/a.wav has no ID"),
        ({"id": "T\udcf6ne"}, r"the ID 'T\\udcf6ne' is not named in UTF-8"),
        ({"duration": 0.0}, "duration 0.0"),
        ({"duration": float("nan")}, "duration nan"),
        ({"duration": float("inf")}, "duration inf"),
        ({"start": -1.0}, "start -1.0"),
        ({"sample_rate": 0}, "sample rate 0"),
    ],
)
def test_clips_that_could_not_be_read_back_are_refused(changes, message):
    values = {"id": "a", "path": "/a.wav", "start": 0.0, "duration": 1.0, "sample_rate": 16000}
    with pytest.raises(ValueError, match=message):
        Clip(**(values | changes))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", r"m.csv: the column\(s\) ID, path, start, duration, sample_rate, labels are missing"),
        ("ID,path,start,duration\n", r"the column\(s\) sample_rate, labels are missing"),
        (HEADER + "a,/a,0,1,8000,\nb,/b,0,long,8000,\n", "m.csv, line 3: .*'long'"),
        (HEADER + "a,/a,0,1,8000,\na,/b,0,1,8000,\n", "line 3: the ID 'a' was there before"),
        (HEADER + "a,/a,0,1\n", "line 2: expected 6 values"),
        (HEADER + "a,/a,0,1,8000,dog,cat\n", "line 2: expected 6 values"),
        (HEADER + "a,a.wav,0,1,8000,dog\n", "line 2: clip a: the path 'a.wav' is not absolute"),
        (HEADER + "a,/a,0,1,8000,dog;;cat\n", "line 2: clip a: the label ''"),
    ],
)
def test_errors_of_reading_name_file_and_line(tmp_path, content, message):
    (tmp_path / "m.csv").write_text(content)
    with pytest.raises(ValueError, match=message):
        read_manifest(tmp_path / "m.csv")


def test_clips_are_written_as_they_come(tmp_path):
    path = tmp_path / "train.csv"
    write_manifest(path, clips())

    def breaking():
        yield clips()[0]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_manifest(path, breaking())
    assert read_manifest(path) == clips()
    write_manifest(path, iter(clips()[:2]))
    assert read_manifest(path) == clips()[:2]
    assert [item.name for item in tmp_path.iterdir()] == ["train.csv"]
    write_manifest(path, [])
    assert path.read_text() == HEADER
