"""The model card repeats the records, and nothing that is not in them."""

import re

import pytest
import yaml

from ssast_recipes.weights.card import model_card
from ssast_recipes.weights.formats.config import (
    Architecture,
    ClassifierConfig,
    FrontEndConfig,
    HeadsConfig,
    ModelConfig,
)
from tests.exported_models import FRONT_END, LABELS

TINY = Architecture(192, 12, 3, 32, 64, patch_size=(16, 16), patch_stride=(8, 12))
FRAMES = Architecture(100, 12, 5, 32, 64, patch_size=(32, 2), patch_stride=(32, 2))
HOW = ClassifierConfig("ClassificationModel", "ClassificationHead", pooling="mean")
RESULTS = {
    "dataset": "ESC-50",
    "protocol": "five folds, end to end",
    "fold": 2,
    "seed": 7,
    "num_clips": {"train": 320, "valid": 80, "test": 81},
    "metric": "mean_average_precision",
    "value": {"last": 0.98765, "averaged": None, "best": 0.5},
}


def config(kind="classifier", architecture=TINY, provenance=None, **front_end):
    own = {
        "classifier": {"classifier": HOW, "labels": LABELS, "label_kind": "multi"},
        "pretraining": {"heads": HeadsConfig(contrastive=True, reconstruction=False)},
        "encoder": {},
    }[kind]
    front_end = FrontEndConfig(**{**FRONT_END, **front_end})
    return ModelConfig(kind, architecture, front_end, **own, provenance=provenance or {})


def sections(card: str) -> dict[str, str]:
    parts = re.split(r"^## (.*)\n", card, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


@pytest.mark.parametrize(
    ("kind", "library", "pipeline"),
    [
        ("classifier", "ssast-recipes", "audio-classification"),
        ("encoder", "transformers", "feature-extraction"),
        ("pretraining", "ssast-recipes", "feature-extraction"),
    ],
)
def test_the_header_is_yaml_for_the_hub(kind, library, pipeline):
    empty, header, body = model_card(config(kind), library=library).split("---\n", 2)
    assert empty == ""
    values = yaml.safe_load(header)
    assert (values["library_name"], values["pipeline_tag"]) == (library, pipeline)
    assert body.startswith("\n# Audio ")


def test_only_sections_with_something_to_tell_are_there():
    assert list(sections(model_card(config("encoder")))) == ["Input", "Model", "Use"]
    card = model_card(
        config(provenance={"dataset": "ESC-50"}), RESULTS, left_out=["The mask token."]
    )
    assert list(sections(card)) == [
        "Input",
        "Model",
        "Left out",
        "Classes",
        "Results",
        "Use",
        "Where it comes from",
    ]


@pytest.mark.parametrize(
    ("architecture", "title"),
    [
        (TINY, "# Audio encoder: tiny, patch-based AST"),
        (FRAMES, "# Audio encoder: frame-based AST"),
    ],
)
def test_the_title_tells_size_and_patches(architecture, title):
    assert title in model_card(config("encoder", architecture)).splitlines()


def test_the_model_is_in_numbers():
    model = sections(model_card(config()))["Model"]
    rows = dict(re.findall(r"\| (\S.*?) \| (.*?) \|", model))
    assert rows == {
        "blocks": "12",
        "width": "192",
        "attention heads": "3",
        "patch, mel bins × frames": "16 × 16",
        "from patch to patch": "8 × 12",
        "classifier": "ClassificationModel (mean), ClassificationHead",
    }


@pytest.mark.parametrize(("high", "top"), [(0.0, "8000"), (-500.0, "7500"), (7000.0, "7000")])
def test_the_front_end_is_in_units(high, top):
    text = sections(model_card(config(frame_shift=20.0, high_frequency=high)))["Input"]
    assert "16000 Hz, 1.28 s (64 frames of 25 ms, one every 20 ms)" in text
    assert f"32 mel bins from 20 to {top} Hz" in text
    assert "zeros before standardising" in text and "mean -4.25, std 4.5" in text


def test_results_are_those_of_the_record():
    card = model_card(config(provenance={"weights": "best"}), RESULTS)
    text = sections(card)["Results"]
    assert text.splitlines()[1:] == [
        "ESC-50, five folds, end to end, fold 2, seed 7.",
        "",
        r"| weights | mean\_average\_precision on 81 test clips |",
        "|---|---|",
        "| the last step | 0.9877 |",
        "| best on the validation clips, these here | 0.5000 |",
        "",
    ]


def test_names_of_classes_are_no_markup():
    assert "Any number of labels a clip, of: dog, rain, a\\|b \\<i\\>." in model_card(config())


@pytest.mark.parametrize(
    ("library", "kind", "line"),
    [
        ("ssast-recipes", "classifier", 'AudioClassifier.from_pretrained("me/model")'),
        ("ssast-recipes", "pretraining", 'AudioEncoder.from_pretrained("me/model")'),
        ("transformers", "classifier", 'ASTForAudioClassification.from_pretrained("me/model")'),
        ("transformers", "encoder", 'ASTModel.from_pretrained("me/model")'),
    ],
)
def test_use_names_the_library_and_the_address(library, kind, line):
    use = sections(model_card(config(kind), library=library, address="me/model"))["Use"]
    (code,) = re.findall(r"```python\n(.*?)\n```", use, flags=re.DOTALL)
    compile(code, "card", "exec")
    assert line in code
