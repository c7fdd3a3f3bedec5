"""`ssast show`: the picture, and which patches count as found."""

import matplotlib.image
import numpy
import pytest
import soundfile
import torch

from ssast_recipes.commands import main as cli
from ssast_recipes.commands.show import draw_predictions
from ssast_recipes.inference import AudioClassifier
from ssast_recipes.inference.explaining import explain_class
from ssast_recipes.model.masking import RandomMasker
from ssast_recipes.weights.formats.folder import save_model
from tests.weights.formats.test_folder import FRONT_END, LABELS, make, save


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    soundfile.write("a.wav", (0.1 * torch.randn(9000)).numpy(), 16000)
    return tmp_path


def test_the_picture_shows_what_the_heads_predict():
    model = make("pretraining")
    spectrograms = torch.randn(1, 32, 128)
    masked = torch.tensor([[0, 3, 9, 14]])
    axes = draw_predictions(model, spectrograms, masked).axes
    whole, seen, redrawn, found = (numpy.ma.filled(axis.images[0].get_array(), 9) for axis in axes)
    numpy.testing.assert_allclose(whole, spectrograms[0].T)
    hidden = torch.zeros(8, 2, dtype=torch.bool)  # rows from the lowest, columns
    hidden.view(-1)[masked[0]] = True
    hidden = hidden.repeat_interleave(16, 0).repeat_interleave(16, 1).numpy()
    assert (seen[hidden] == 9).all() and (seen[~hidden] == whole[~hidden]).all()
    assert (redrawn[~hidden] == whole[~hidden]).all()
    assert not numpy.isclose(redrawn[hidden], whole[hidden]).all()
    assert (found[~hidden] == 9).all() and set(found[hidden]) <= {0, 1}
    assert len(draw_predictions(make("reconstruction"), spectrograms, masked).axes) == 3


@pytest.mark.parametrize(("ratio", "status"), [("0.5", 0), ("0", 1), ("1.5", 1)])
def test_a_png_is_drawn(folder, capsys, ratio, status):
    save("m", "pretraining")
    assert cli.main(["show", "m", "a.wav", "--mask-ratio", ratio]) == status
    assert (folder / "a.png").exists() == (status == 0)
    if status == 0:
        assert matplotlib.image.imread("a.png").std() > 0.1


def test_as_many_patches_are_masked_as_in_the_run(folder, capsys, monkeypatch):
    run, drawn = folder / "run", []
    save(run / "model", "pretraining")
    (run / "hyperparams.yaml").write_text(
        "num_masked_patches: 5\nmasker: !new:ssast_recipes.model.RandomMasker\n"
        "    {num_masked: !ref <num_masked_patches>}\n"
    )
    (run / "save").mkdir()
    (run / "save" / "CKPT+1").mkdir()
    masker = RandomMasker.__call__
    monkeypatch.setattr(
        RandomMasker, "__call__", lambda self, *given: drawn.append(self) or masker(self, *given)
    )
    assert cli.main(["show", "run", "a.wav"]) == 0
    assert capsys.readouterr().out == "a.png\n5 of 16 patches are masked\n"
    assert len(drawn) == 1  # no clusters
    assert cli.main(["show", "run", "a.wav", "--mask-ratio", "0.5"]) == 0
    assert "\n8 of 16 patches are masked\n" in capsys.readouterr().out
    assert cli.main(["show", "run/model", "a.wav"]) == 0
    assert "\n12 of 16 patches are masked\n" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "line"),
    [
        *(
            (["--mask-ratio", ratio], "--mask-ratio is a share")
            for ratio in ("0", "1", "nan", "inf")
        ),
        (
            ["--output", "a.jpg"],
            "--output a.jpg: the picture is a PNG; give a name that ends in .png",
        ),
        (["--output", "m/a.png"], "error: m/a.png: Is a directory"),
    ],
)
def test_what_cannot_be_drawn_is_told(folder, capsys, words, line):
    save("m", "pretraining")
    (folder / "m" / "a.png").mkdir()
    assert cli.main(["show", "m", "a.wav", *words]) == 1
    told = capsys.readouterr().err
    assert line in told and told.count("\n") == 1
    assert {path.name for path in folder.iterdir()} == {"m", "a.wav"}


def test_models_without_heads_are_refused(folder, capsys):
    save("m", "encoder")
    assert cli.main(["show", "m", "a.wav"]) == 1
    assert "m holds a model of kind encoder, without the heads" in capsys.readouterr().err


@pytest.mark.parametrize("kind", ["classifier", "masked classifier", "weighted sum"])
def test_why_a_classifier_decided_so(folder, capsys, kind):
    save("m", kind)
    assert cli.main(["show", "m", "a.wav", "--label", LABELS[2]]) == 0
    told = capsys.readouterr().out
    assert told.startswith(f"{LABELS[2]}: 0.") and "in random order\na.png" in told
    assert told.splitlines()[-1] == "a.png"
    assert matplotlib.image.imread("a.png").std() > 0.1


def test_an_explanation_is_of_the_likeliest_class_and_of_the_recording_alone(folder):
    save("m", "masked classifier")
    classifier = AudioClassifier.from_pretrained("m", "cpu")
    short = 0.1 * torch.randn(9 * 160 + 400)  # 10 frames: of two columns, the first
    found = explain_class(classifier, short, 16000)
    expected = classifier.classify(short, 16000)
    assert (found.label, found.score) == (expected.labels[0], pytest.approx(expected.scores[0]))
    assert found.spectrogram.shape == (10, 128) and found.attributions.shape == (8, 2)
    assert found.attributions[:, 0].any() and not found.attributions[:, 1].any()
    assert found.deleted[0] == pytest.approx(found.score)
    torch.testing.assert_close(found.deleted[-1], found.deleted_at_random[-1])
    again = explain_class(classifier, short, 16000)
    assert torch.equal(again.deleted_at_random, found.deleted_at_random)


def test_deleting_what_spoke_for_a_class_lowers_it_faster(folder):
    """In a model whose weights are large enough to decide something."""
    torch.manual_seed(1)
    model = make("classifier")
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    save_model("m", model, FRONT_END, LABELS)
    classifier = AudioClassifier.from_pretrained("m", "cpu")
    found = explain_class(classifier, "a.wav")
    assert found.is_confirmed
    assert found.deleted.mean() < found.deleted_at_random.mean() - 0.01


def test_classes_that_are_not_there_are_told(folder, capsys):
    save("m", "classifier")
    assert cli.main(["show", "m", "a.wav", "--label", "cow"]) == 1
    assert "there is no class 'cow'; there are cat, dog" in capsys.readouterr().err
    save("m", "encoder")
    assert cli.main(["show", "m", "a.wav", "--label", "cow"]) == 1
    assert "--label: m has no classes" in capsys.readouterr().err
