"""Exported models give the outputs of the models that they were made of."""

import json
import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file

from ssast_recipes.commands import main as cli
from ssast_recipes.system.errors import RunError
from ssast_recipes.weights import exporting
from ssast_recipes.weights.exporting import export_huggingface, export_torch
from ssast_recipes.weights.formats.config import FrontEndConfig
from ssast_recipes.weights.formats.folder import load_model
from ssast_recipes.weights.formats.huggingface import huggingface_to_ours
from ssast_recipes.weights.importing import import_model
from tests.exported_models import FRONT_END, LABELS, make_model, save

HUGGINGFACE_FILES = ["README.md", "config.json", "model.safetensors", "preprocessor_config.json"]


def load(class_name: str, folder):
    """Loads it with `transformers`, which must find all weights, and use all."""
    transformers = pytest.importorskip("transformers")
    model, found = getattr(transformers, class_name).from_pretrained(
        folder, output_loading_info=True
    )
    assert not any(found[key] for key in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    return model.eval()


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def assert_close(found, expected, tolerance):
    torch.testing.assert_close(found, expected, rtol=0, atol=tolerance * expected.abs().max())


@torch.no_grad()
@pytest.mark.parametrize("patch_stride", [(16, 16), (8, 12)])
def test_an_encoder_gives_the_same_hidden_states_in_transformers(tmp_path, patch_stride):
    encoder = make_model("encoder", patch_stride=patch_stride)
    left_out = export_huggingface(save(tmp_path / "ours", encoder), tmp_path / "theirs")
    assert left_out == ["The mask token: Hugging Face's AST masks nothing."]
    spectrograms = torch.randn(2, 64, 32)
    ours = encoder(spectrograms, return_hidden_states=True)
    theirs = load("ASTModel", tmp_path / "theirs")(spectrograms, output_hidden_states=True)
    tokens = torch.cat([ours.prefix_tokens, ours.patch_tokens], dim=1)
    assert_close(theirs.last_hidden_state, tokens, 1e-5)
    assert_close(theirs.pooler_output, ours.prefix_tokens.mean(dim=1), 1e-5)
    for after_block, state in zip(ours.hidden_states, theirs.hidden_states[1:], strict=True):
        assert_close(state, after_block, 1e-5)


@torch.no_grad()
@pytest.mark.parametrize("label_kind", ["single", "multi"])
def test_a_classifier_gives_the_same_logits_in_transformers(tmp_path, label_kind):
    model = make_model("prefix")
    source = save(tmp_path / "ours", model, label_kind=label_kind)
    assert len(export_huggingface(source, tmp_path / "theirs")) == 1  # the mask token
    spectrograms = torch.randn(2, 64, 32)
    theirs = load("ASTForAudioClassification", tmp_path / "theirs")
    # Theirs has one epsilon for all norms, ours another for the classifier's.
    assert_close(theirs(spectrograms).logits, model(spectrograms), 1e-4)
    assert tuple(theirs.config.id2label[index] for index in range(3)) == LABELS
    assert theirs.config.problem_type == f"{label_kind}_label_classification"


@pytest.mark.parametrize("num_samples", [6000, 16000])
def test_the_feature_extractor_gives_the_same_spectrograms(tmp_path, num_samples):
    transformers = pytest.importorskip("transformers")
    export_huggingface(save(tmp_path / "ours", make_model("encoder")), tmp_path / "theirs")
    extractor = transformers.ASTFeatureExtractor.from_pretrained(tmp_path / "theirs")
    waveform = torch.randn(num_samples)  # shorter and longer than 64 frames
    theirs = extractor(waveform.numpy(), sampling_rate=16000, return_tensors="pt")["input_values"]
    ours = FrontEndConfig(**FRONT_END).build()(waveform.unsqueeze(0))
    torch.testing.assert_close(theirs, ours, rtol=0, atol=1e-4)


@pytest.mark.parametrize("name", ["encoder", "prefix", "mean", "masked", "pretraining"])
def test_the_encoder_comes_back_exactly(tmp_path, name):
    model = make_model(name)
    encoder = getattr(model, "encoder", model)
    export_huggingface(save(tmp_path / "ours", model), tmp_path / "theirs")
    back, left_over = huggingface_to_ours(load_file(tmp_path / "theirs" / "model.safetensors"))
    assert left_over == []
    for key, value in encoder.named_parameters():
        if key != "mask_token":
            assert torch.equal(back[f"encoder.{key}"], value), key


@pytest.mark.parametrize("name", ["encoder", "prefix"])
def test_what_was_exported_can_be_imported_as_it_was(tmp_path, name):
    source = save(tmp_path / "ours", make_model(name, patch_stride=(8, 12)), label_kind="multi")
    export_huggingface(source, tmp_path / "theirs")
    import_model(tmp_path / "theirs", tmp_path / "back")
    (model, config), (back, config_back) = load_model(source), load_model(tmp_path / "back")
    for part in ("kind", "architecture", "front_end", "classifier", "labels", "label_kind"):
        assert getattr(config_back, part) == getattr(config, part)
    weights = dict(back.named_parameters())
    for key, value in model.named_parameters():
        if not key.endswith("mask_token"):
            assert torch.equal(weights[key], value), key


@pytest.mark.parametrize(
    ("name", "how"),
    [
        ("mean", "ClassificationModel (mean) with ClassificationHead"),
        ("projection", "ClassificationModel (prefix) with ProjectionHead"),
        ("masked", "WeightedSumModel (masked) with ProjectionHead"),
        ("released", "WeightedSumModel (released) with ClassificationHead"),
    ],
)
def test_a_classifier_that_theirs_is_not_stays_behind(tmp_path, name, how):
    source, folder = save(tmp_path / "ours", make_model(name)), tmp_path / "theirs"
    _, sentence = export_huggingface(source, folder)
    assert how in sentence and "the encoder alone went" in sentence and "\n" not in sentence
    card = (folder / "README.md").read_text(encoding="utf-8")
    assert "pipeline_tag: feature-extraction" in card and "# Audio encoder: " in card
    assert "ASTForAudioClassification.from" not in card and "## Classes" not in card
    assert sentence in (folder / "README.md").read_text()
    settings = json.loads((folder / "config.json").read_text())
    assert settings["architectures"] == ["ASTModel"] and "id2label" not in settings
    assert not any("classifier" in name for name in load_file(folder / "model.safetensors"))


def test_masked_padding_stays_behind(tmp_path):
    source, folder = save(tmp_path / "ours", make_model("unpadded")), tmp_path / "theirs"
    _, classifier, padding = export_huggingface(source, folder)
    assert "the encoder alone went" in classifier
    assert padding.startswith("The masking of padding: ") and "\n" not in padding
    assert padding in (folder / "README.md").read_text()


def test_frames_are_refused_and_nothing_is_written(tmp_path, capsys):
    source = save(tmp_path / "ours", make_model("mean", patch_size=(32, 2)))
    command = ["export", str(source), str(tmp_path / "theirs"), "--to", "huggingface"]
    assert cli.main(command) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "patch_size (32, 2)" in line and "square" in line
    assert names(tmp_path) == ["ours"]


def test_a_front_end_that_theirs_is_not_stays_behind(tmp_path):
    folder = tmp_path / "theirs"
    export_huggingface(save(tmp_path / "ours", make_model("encoder")), folder)
    assert names(folder) == HUGGINGFACE_FILES
    other = {"pad_before_standardising": False}
    source = save(tmp_path / "ours", make_model("encoder"), other)
    _, sentence = export_huggingface(source, folder)
    assert "pad_before_standardising False" in sentence
    assert names(folder) == HUGGINGFACE_FILES[:3]  # the first one's is gone


def test_transformers_is_not_needed(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "transformers", None)
    export_huggingface(save(tmp_path / "ours", make_model("prefix")), tmp_path / "theirs")
    assert names(tmp_path / "theirs") == HUGGINGFACE_FILES


@pytest.mark.parametrize("name", ["", "."])
def test_a_model_folder_is_not_written_over(tmp_path, name):
    source = save(tmp_path / "ours", make_model("encoder"))
    before = (source / "config.json").read_bytes()
    with pytest.raises(ValueError, match="is the model folder itself"):
        export_huggingface(source, source / name)
    assert (source / "config.json").read_bytes() == before


@pytest.mark.parametrize("export", [export_huggingface, export_torch])
def test_no_model_is_said_in_one_line(tmp_path, export):
    with pytest.raises(FileNotFoundError, match="does not exist"):
        export(tmp_path / "none", tmp_path / "a.pt2")


def test_the_card_of_a_run_tells_its_results(tmp_path):
    run = tmp_path / "run"
    save(run / "model", make_model("prefix"))
    results = {"dataset": "ESC-10", "metric": "accuracy", "value": {"last": 0.8125}}
    (run / "results.json").write_text(json.dumps(results))
    export_huggingface(run, tmp_path / "theirs")
    assert "| the last step | 0.8125 |" in (tmp_path / "theirs" / "README.md").read_text()
    (run / "results.json").write_text("[]")
    with pytest.raises(ValueError, match=r"results\.json: damaged"):
        export_huggingface(run, tmp_path / "theirs")


@torch.no_grad()
@pytest.mark.parametrize(
    ("name", "num_inputs"), [("encoder", 1), ("pretraining", 1), ("mean", 1), ("masked", 2)]
)
def test_a_program_gives_the_outputs_of_the_model(tmp_path, name, num_inputs):
    model, path = make_model(name), tmp_path / "model.pt2"
    source = save(tmp_path / "ours", model)
    export_torch(source, path)
    files = {"config.json": ""}
    program = torch.export.load(path, extra_files=files).module()
    assert files["config.json"] == (source / "config.json").read_text()
    inputs = (torch.randn(5, 64, 32), torch.tensor([3, 64, 40, 17, 100]))[:num_inputs]
    if name in ("encoder", "pretraining"):
        output = getattr(model, "encoder", model)(*inputs)
        found = program(*inputs)
        assert_close(found[0], output.patch_tokens, 1e-5)
        assert_close(found[1], output.prefix_tokens, 1e-5)
    else:
        assert_close(program(*inputs), model(*inputs), 1e-5)


@pytest.mark.slow
def test_a_program_runs_without_this_toolkit(tmp_path):
    export_torch(save(tmp_path / "ours", make_model("prefix")), tmp_path / "model.pt2")
    code = (
        "import sys; sys.modules['ssast_recipes'] = None; import torch;"
        "program = torch.export.load(sys.argv[1]).module();"
        "print(list(program(torch.zeros(4, 64, 32)).shape))"
    )
    command = [sys.executable, "-W", "ignore", "-c", code, str(tmp_path / "model.pt2")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.stdout, done.returncode) == ("[4, 3]\n", 0), done.stderr


def test_a_program_that_deviates_is_not_written(tmp_path, monkeypatch):
    source = save(tmp_path / "ours", make_model("prefix"))
    other = make_model("prefix")

    class Loaded:
        def module(self):
            return other

    monkeypatch.setattr(exporting.torch.export, "load", lambda file: Loaded())
    with pytest.raises(RunError, match="nothing was written"):
        export_torch(source, tmp_path / "model.pt2")
    assert names(tmp_path) == ["ours"]


def test_a_program_is_a_pt2_file(tmp_path):
    with pytest.raises(ValueError, match=r"named \*\.pt2"):
        export_torch(tmp_path, tmp_path / "model.pt")


def test_the_command_says_what_it_did(tmp_path, capsys):
    source, out = save(tmp_path / "ours", make_model("mean")), tmp_path / "theirs"
    assert cli.main(["export", str(source), str(out), "--to", "huggingface"]) == 0
    wrote, *left_out = capsys.readouterr().out.splitlines()
    assert wrote == f"wrote {out}"
    assert [line.partition(":")[0] for line in left_out] == ["left out", "left out"]
    assert cli.main(["export", str(source), str(out / "a.pt2"), "--to", "torch"]) == 0
    assert capsys.readouterr().out == f"wrote {out / 'a.pt2'}\n"
