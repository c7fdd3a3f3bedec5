"""From a table of one's own transcribed files to a recogniser that is used."""

import json

import numpy as np
import pytest
import soundfile

from ssast_recipes.commands.main import main
from ssast_recipes.data.manifest import read_manifest
from ssast_recipes.data.preparation.own_transcripts import (
    prepare_transcribed,
    read_transcripts_table,
)
from ssast_recipes.data.synthetic.tone_words import spell
from ssast_recipes.model.builders import ast_encoder
from ssast_recipes.weights.formats.config import FrontEndConfig
from ssast_recipes.weights.formats.folder import save_model


@pytest.fixture
def table(tmp_path):
    """Twelve files of one word or two, with splits, in a folder with blanks."""
    folder = tmp_path / "my speech"
    (folder / "takes").mkdir(parents=True)
    rows = ["Path;Text;Split"]
    for number in range(12):
        random = np.random.default_rng(number)
        text = "ONE TWO" if number % 2 else "TEN"
        soundfile.write(folder / "takes" / f"{number}.wav", spell(text, 16000, random), 16000)
        split = ("train", "train", "train", "train", "dev", "test")[number // 2]
        rows.append(f"takes/{number}.wav;{text.lower()}!;{split}")
    path = folder / "spoken.csv"
    path.write_text("\n".join(rows) + "\n")
    return path


@pytest.fixture
def encoder(tmp_path):
    def make(patch_size):
        model = ast_encoder(
            "tiny", depth=1, embed_dim=64, num_heads=1, num_mel_bins=32, target_length=64,
            patch_size=patch_size,
        )  # fmt: skip
        front_end = FrontEndConfig(16000, 32, 25.0, 10.0, 20.0, 0.0, 64, -5.0, 4.0, True)
        save_model(tmp_path / "encoder", model, front_end)
        return str(tmp_path / "encoder")

    return make


@pytest.mark.slow
def test_a_table_becomes_a_recogniser_that_transcribes(table, encoder, tmp_path, capfd):
    words = ["finetune", encoder((32, 2)), str(table), "--task", "transcribe", "--epochs", "3"]
    words += ["--output", str(tmp_path / "run"), "--device", "cpu"]
    assert main(words) == 0
    told = capfd.readouterr().out
    assert "training 8, validation 2, test 2" in told
    assert "6 characters:  ENOTW" in told and "word error rate" in told
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    assert results["num_clips"] == {"train": 8, "valid": 2, "test": 2}
    assert results["pretrained_from"]["sha256"] and results["tokenizer"]["num_tokens"] == 7
    assert "baselines" not in results
    assert main(["transcribe", str(tmp_path / "run"), str(table.parent / "takes")]) == 0
    assert len(capfd.readouterr().out.splitlines()) == 12


def test_a_patch_based_encoder_and_options_of_classes_are_refused(table, encoder, capsys):
    words = ["finetune", encoder((16, 16)), str(table), "--task", "transcribe", "--plan"]
    assert main(words) == 1
    assert "has patches of 16 x 16, which are no moments" in capsys.readouterr().err
    assert main([*words, "--folds", "3"]) == 1
    assert "--folds and --background are for --task classify" in capsys.readouterr().err


def test_a_table_is_read_and_split_as_it_says(table, tmp_path):
    assert prepare_transcribed(table, tmp_path / "m") == "spoken"
    clips = read_manifest(tmp_path / "m" / "valid.csv")
    assert {clip.id: clip.extra["text"] for clip in clips} == {
        "takes/8.wav": "TEN",
        "takes/9.wav": "ONE TWO",
    }
    without = "\n".join(line.rpartition(";")[0] for line in table.read_text().splitlines())
    table.write_text(without)
    prepare_transcribed(table, tmp_path / "drawn")
    counts = [len(read_manifest(tmp_path / "drawn" / f"{s}.csv")) for s in ("train", "valid")]
    assert sum(counts) < 12 and counts[0] > counts[1] >= 1


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("path,label\na.wav,dog\n", "the column.s. text are missing, the first line is 'path,l"),
        ("path,text\na.wav,one\na.wav,two\n", "line 3: a.wav was there before; a file has one"),
        ("path,text\n,one\n", "line 2: a path is needed"),
        ("path,text,split\na.wav,one,lunch\n", "split is one of train, valid, test .*'lunch'"),
        ("path,text,split\na.wav,one,train\nb.wav,two,\n", "some rows have a split and some"),
        ("path,text\na.wav,one, two\n", "more cells than names .* put a text .* in quotes"),
        ("path,text\n", "there is no file in it"),
    ],
)
def test_what_is_wrong_with_a_table_is_told_in_a_line(tmp_path, text, told):
    (tmp_path / "spoken.csv").write_text(text)
    with pytest.raises(ValueError, match=told) as error:
        read_transcripts_table(tmp_path / "spoken.csv")
    assert "\n" not in str(error.value)
