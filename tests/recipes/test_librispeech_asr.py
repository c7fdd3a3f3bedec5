"""LibriSpeech's recognition, from the corpus to the transcripts, on words spelled in tones."""

import hashlib
import json

import pytest
import soundfile
import torch
from speechbrain import Stage

from ssast_recipes.brains import RecognitionBrain
from ssast_recipes.brains.transcripts import score_transcripts
from ssast_recipes.commands.main import main
from ssast_recipes.data.manifest import read_manifest
from ssast_recipes.data.synthetic import make_librispeech
from ssast_recipes.data.synthetic.tone_words import WORDS
from ssast_recipes.data.tokenizer import Tokenizer
from ssast_recipes.records.transcripts import read_transcripts
from ssast_recipes.reporting.transcripts import align_words
from tests.brains.tiny import Killed
from tests.recipes.conftest import RECIPES
from tests.report_page import check_page

HPARAMS = RECIPES / "Librispeech" / "hparams"
SMALL = {"embed_dim": 64, "depth": 1, "num_heads": 1, "target_length": 128, "num_workers": 0}
ASR = SMALL | {"num_steps": 4, "valid_interval": 2, "log_interval": 1, "warmup_steps": 1}
ASR |= {"checkpoint_interval": 1, "max_batch_seconds": 6, "num_tokens": 17}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    speakers = {"train-clean-100": 2, "dev-clean": 1, "test-clean": 1, "test-other": 1}
    return make_librispeech(tmp_path_factory.mktemp("corpus"), speakers, words=WORDS)


@pytest.fixture(scope="module")
def run(run_recipe, corpus, tmp_path_factory):
    """`run(**values)`: a recognition of four steps."""

    def run(name="asr_ctc_frame", **values):
        places = {"data_folder": corpus, "output_folder": tmp_path_factory.mktemp(name)}
        places["manifest_folder"] = corpus.parent / f"manifests_{name[:3]}"
        options = {**(ASR if name[:3] == "asr" else {}), **places, **values}
        words = [word for key, value in options.items() for word in (f"--{key}", value)]
        return run_recipe("Librispeech", HPARAMS / f"{name}.yaml", *words)

    return run


@pytest.fixture(scope="module")
def finished(run):
    return run()


def test_it_trains_validates_and_tests(finished, corpus):
    results = finished.results
    assert (results["dataset"], results["metric"]) == ("LibriSpeech", "WER")
    assert results["num_clips"] == {"train": 8, "valid": 4, "test": 8}
    assert [record["step"] for record in finished.log("valid")] == [2, 4]
    assert {"loss", "WER", "CER", "sentence_errors", "too_long"} <= {*finished.log("valid")[0]}
    seconds = {path.stem: soundfile.info(path).duration for path in corpus.rglob("*.flac")}
    for seen in finished.batches(Stage.TRAIN):
        assert len(seen.batch) * max(seconds[clip] for clip in seen.batch.ids) <= 6
    changed = [
        name
        for name, value in finished.brain.hparams.encoder.named_parameters()
        if not torch.equal(value, finished.initial[name])
    ]
    assert changed == [name for name in finished.initial if name != "mask_token"]


def test_the_tokenizer_is_of_training_alone_and_its_checksum_is_kept(finished, corpus):
    manifest = corpus.parent / "manifests_asr" / "train.csv"
    texts = [clip.extra["text"] for clip in read_manifest(manifest)]
    model = Tokenizer.train(texts, "characters", 17).model
    assert (finished.folder / "tokenizer.model").read_bytes() == model
    assert (finished.folder / "model" / "tokenizer.model").read_bytes() == model
    told = {"num_tokens": 17, "sha256": hashlib.sha256(model).hexdigest()}
    assert finished.results["tokenizer"] == told
    config = json.loads((finished.folder / "model" / "config.json").read_text())
    assert config["recognition"]["tokenizer_sha256"] == told["sha256"]


def test_every_test_set_has_its_rates_and_every_utterance_its_transcript(finished):
    results = finished.results
    rows = read_transcripts(finished.folder / "transcripts.csv", "best")
    assert {row["split"] for row in rows} == {"test-clean", "test-other"} and len(rows) == 8
    for split, rates in results["by_split"]["best"].items():
        own = [row for row in rows if row["split"] == split]
        errors = sum(row["word_errors"] for row in own) / sum(row["words"] for row in own)
        assert rates["WER"] == pytest.approx(errors, abs=1e-6)
    assert results["metrics"]["best"]["WER"] == pytest.approx(
        sum(row["word_errors"] for row in rows) / sum(row["words"] for row in rows), abs=1e-6
    )


def test_the_report_sets_what_was_said_beside_what_was_heard(finished, tmp_path):
    output = tmp_path / "page.html"
    words = ["report", str(finished.folder), "--clips", "3", "--output", str(output)]
    assert main([*words, "--device", "cpu"]) == 0
    page = check_page(output.read_text(encoding="utf-8"))
    assert page.sections == [
        "Results",
        "Configuration",
        "Curves",
        "Error rates",
        "Worst transcripts",
    ]
    assert "Character error rate" in page.section("Curves")
    rates = page.section("Error rates")
    for split, told in finished.results["by_split"]["best"].items():
        assert f"{split}{100 * told['WER']:.2f}{100 * told['CER']:.2f}" in rates
    rows = read_transcripts(finished.folder / "transcripts.csv", "best")
    worst = max(rows, key=lambda row: (row["word_errors"] / row["words"], row["word_errors"]))
    assert worst["id"] in page.section("Worst transcripts")
    assert len(page.values("audio", "src")) == 3


def test_words_are_aligned_with_as_few_edits_as_errors_were_counted():
    pairs = [("ONE TWO THREE", "ONE TO TO THREE"), ("A B C D", "B C E"), ("", "A"), ("A B", "")]
    for reference, hypothesis in pairs:
        aligned = align_words(reference, hypothesis)
        assert " ".join(filter(None, (word.said for word in aligned))) == reference
        assert " ".join(filter(None, (word.heard for word in aligned))) == hypothesis
        (scored,) = score_transcripts(["a"], [reference], [hypothesis])
        assert sum(word.kind != "right" for word in aligned) == scored.word_errors


def test_it_begins_with_a_pretrained_encoder_of_pieces_and_goes_on_where_it_was_killed(
    run, tmp_path, monkeypatch
):
    steps = {"num_steps": 2, "valid_interval": 2, "batch_size": 4, "num_masked_patches": 20}
    pretrained = run("pretrain_frame", **SMALL, **steps, subsets="[train-clean-100]")
    options = {"pretrained_encoder": pretrained.folder, "tokens": "pieces", "num_tokens": 20}
    options |= {"target_length": 256, "head_warmup_steps": 4}  # the encoder stays as it is
    begin = RecognitionBrain.on_fit_batch_start

    def killed_at_step_3(brain, *args):
        if brain.optimizer_step == 2:
            raise Killed
        begin(brain, *args)

    with monkeypatch.context() as patch:
        patch.setattr(RecognitionBrain, "on_fit_batch_start", killed_at_step_3)
        with pytest.raises(Killed):
            run(**options, output_folder=tmp_path)
    tokenizer = (tmp_path / "tokenizer.model").read_bytes()
    finished = run(**options, output_folder=tmp_path)
    assert [record["step"] for record in finished.log("train")] == [1, 2, 3, 4]
    assert len(finished.batches(Stage.TRAIN)) == 2
    assert finished.initial["position_embedding"].shape == (1, 2 + 128, 64)  # stretched from 64
    name = "encoder.blocks.0.mlp.fc1.weight"
    assert torch.equal(finished.saved[name], pretrained.saved[name])
    assert finished.results["pretrained_from"]["sha256"]
    assert finished.results["tokenizer"]["sha256"] == hashlib.sha256(tokenizer).hexdigest()


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"patch_size": "[16, 16]"}, "recognition takes a frame-based encoder"),
        ({"num_tokens": 29}, "num_tokens is 29, but the training transcripts give 17"),
        ({"max_batch_seconds": 0.5}, "max_batch_seconds is 0.5, but a clip takes"),
        ({"output_keys": "[id, index, place, waveform, target]"}, "label_encoder"),
    ],
)
def test_what_does_not_go_together_is_told(run, values, told):
    with pytest.raises((ValueError, KeyError), match=told):
        run(**values)
