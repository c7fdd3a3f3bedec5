"""Folders of Hugging Face's: the same numbers as `transformers` computes, and what is refused."""

import json
import math

import pytest
import safetensors.torch
import torch

from ssast_recipes.model.encoder import AudioSpectrogramTransformer
from ssast_recipes.weights.formats import config as model_config
from ssast_recipes.weights.formats.folder import load_model
from ssast_recipes.weights.formats.huggingface import ours_to_huggingface
from ssast_recipes.weights.importing import import_model

SIZES = {"hidden_size": 128, "num_hidden_layers": 2, "num_attention_heads": 2}
SIZES |= {"intermediate_size": 512, "num_mel_bins": 64, "max_length": 96}
STRIDES = {"patch_size": 16, "frequency_stride": 10, "time_stride": 8}


def randomise(model):
    """Weights of an ordinary size: of fresh ones, so small, a norm's epsilon counts."""
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.normal_(std=1.0 if "token" in name or "position" in name else 0.1)
            if "norm" in name and name.endswith("weight"):
                parameter.add_(1.0)
    return model.eval()


def assert_same_tokens(ours, theirs) -> None:
    """Every block's output, and the final norm's."""
    assert len(ours.hidden_states) == len(theirs.hidden_states) - 1
    for mine, expected in zip(ours.hidden_states[:-1], theirs.hidden_states[1:-1], strict=True):
        assert torch.allclose(mine, expected, rtol=0, atol=1e-4)
    tokens = torch.cat([ours.prefix_tokens, ours.patch_tokens], dim=1)
    assert tokens.std() > 0.5
    assert torch.allclose(tokens, theirs.last_hidden_state, rtol=0, atol=1e-4)


@pytest.mark.parametrize("qkv_bias", [True, False])
def test_an_encoder_computes_what_transformers_does(qkv_bias, tmp_path, device):
    transformers = pytest.importorskip("transformers")
    config = transformers.ASTConfig(**SIZES, **STRIDES, qkv_bias=qkv_bias)
    theirs = randomise(transformers.ASTModel(config))
    theirs.save_pretrained(tmp_path / "theirs")
    imported, _ = import_model(tmp_path / "theirs", tmp_path / "ours")
    assert imported.left_over == []
    encoder, config = load_model(tmp_path / "ours")
    assert (config.kind, encoder.grid_size) == ("encoder", (5, 11))
    spectrograms = torch.randn(3, 96, 64, device=device)
    with torch.no_grad():
        ours = encoder.to(device)(spectrograms, return_hidden_states=True)
        expected = theirs.to(device)(spectrograms, output_hidden_states=True)
    assert_same_tokens(ours, expected)


@pytest.mark.parametrize("problem", ["multi_label_classification", None])
def test_a_classifier_computes_what_transformers_does(problem, tmp_path, device):
    transformers = pytest.importorskip("transformers")
    names = ["dog", "cat", "rain"]
    config = transformers.ASTConfig(
        **SIZES,
        **STRIDES,
        id2label=dict(enumerate(names)),
        label2id={name: index for index, name in enumerate(names)},
        problem_type=problem,
    )
    theirs = randomise(transformers.ASTForAudioClassification(config))
    theirs.save_pretrained(tmp_path / "theirs")
    transformers.ASTFeatureExtractor(
        max_length=96, num_mel_bins=64, mean=-5.5, std=3.25
    ).save_pretrained(tmp_path / "theirs")
    import_model(tmp_path / "theirs", tmp_path / "ours")
    model, config = load_model(tmp_path / "ours")
    assert config.labels == tuple(names)
    assert config.label_kind == ("single" if problem is None else "multi")
    assert (config.front_end.mean, config.front_end.std) == (-5.5, 3.25)
    assert config.classifier.pooling == "prefix"
    spectrograms = torch.randn(3, 96, 64, device=device)
    with torch.no_grad():
        logits = model.to(device)(spectrograms)
        expected = theirs.to(device)(spectrograms).logits
    assert logits.std() > 0.1
    assert torch.allclose(logits, expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize("model", ["DeiTModel", "DeiTForImageClassificationWithTeacher"])
def test_deit_computes_what_transformers_does(model, tmp_path, device):
    transformers = pytest.importorskip("transformers")
    sizes = {name: value for name, value in SIZES.items() if "_l" not in name and "mel" not in name}
    config = transformers.DeiTConfig(**sizes, num_hidden_layers=2, image_size=64, patch_size=16)
    theirs = randomise(getattr(transformers, model)(config))
    theirs.save_pretrained(tmp_path / "theirs")
    imported, _ = import_model(tmp_path / "theirs", tmp_path / "ours")
    assert (
        imported.left_over
        == {
            "DeiTModel": ["pooler.dense.bias", "pooler.dense.weight"],
            "DeiTForImageClassificationWithTeacher": [
                "cls_classifier.bias",
                "cls_classifier.weight",
                "distillation_classifier.bias",
                "distillation_classifier.weight",
            ],
        }[model]
    )
    encoder = AudioSpectrogramTransformer(
        128, depth=2, num_heads=2, num_mel_bins=64, target_length=64
    ).to(device)
    weights = {name.removeprefix("encoder."): one for name, one in imported.weights.items()}
    encoder.load_state_dict(weights, strict=False)
    pictures = torch.randn(2, 1, 64, 64, device=device)  # height is frequency, width is time
    with torch.no_grad():
        ours = encoder(pictures.squeeze(1).transpose(1, 2), return_hidden_states=True)
        body = getattr(theirs, "deit", theirs).to(device)
        expected = body(pictures.expand(-1, 3, -1, -1), output_hidden_states=True)
    assert_same_tokens(ours, expected)


@pytest.fixture
def folder(tmp_path):
    """An ASTModel's folder, made without transformers; its encoder has one grid for every test."""
    encoder = AudioSpectrogramTransformer(
        128, 2, 2, num_mel_bins=64, target_length=96, patch_stride=(10, 8)
    )
    weights = ours_to_huggingface(encoder.state_dict(prefix="encoder."))
    path = tmp_path / "theirs"
    path.mkdir()
    safetensors.torch.save_file(weights, path / "model.safetensors")
    config = {"model_type": "audio-spectrogram-transformer", **SIZES, **STRIDES}
    (path / "config.json").write_text(json.dumps(config))
    return path


def edit(path, **values):
    content = json.loads(path.read_text()) if path.exists() else {}
    path.write_text(json.dumps(content | values))


def test_weights_of_torch_are_taken_too(folder, tmp_path):
    weights = safetensors.torch.load_file(folder / "model.safetensors")
    import_model(folder, tmp_path / "a")
    (folder / "model.safetensors").unlink()
    torch.save(weights, folder / "pytorch_model.bin")
    import_model(folder, tmp_path / "b")
    first, second = (load_model(tmp_path / name)[0].state_dict() for name in "ab")
    assert all(torch.equal(first[name], second[name]) for name in weights if name in first)
    assert torch.equal(first["position_embedding"], weights["embeddings.position_embeddings"])


def test_names_of_a_classifier_that_is_gone_are_those_of_the_encoder(folder, tmp_path):
    import_model(folder, tmp_path / "a")
    weights = safetensors.torch.load_file(folder / "model.safetensors")
    weights = {f"audio_spectrogram_transformer.{name}": one for name, one in weights.items()}
    weights |= {"decoder.weight": torch.zeros(2)}
    safetensors.torch.save_file(weights, folder / "model.safetensors")
    imported, config = import_model(folder, tmp_path / "b")
    assert (config.kind, imported.left_over) == ("encoder", ["decoder.weight"])
    first, second = (load_model(tmp_path / name)[0] for name in "ab")
    for mine, theirs in zip(first.parameters(), second.parameters(), strict=True):
        assert torch.equal(mine, theirs)


def test_half_precision_becomes_single(folder, tmp_path):
    weights = safetensors.torch.load_file(folder / "model.safetensors")
    weights = {name: value.bfloat16() for name, value in weights.items()}
    safetensors.torch.save_file(weights, folder / "model.safetensors")
    import_model(folder, tmp_path / "ours")
    norm = load_model(tmp_path / "ours")[0].position_embedding
    assert norm.dtype == torch.float32
    assert torch.equal(norm, weights["embeddings.position_embeddings"].float())


def test_without_normalisation_the_front_end_does_nothing(folder, tmp_path):
    edit(folder / "preprocessor_config.json", sampling_rate=8000, do_normalize=False)
    _, config = import_model(folder, tmp_path / "ours")
    spectrograms = torch.randn(2, 96, 64)
    assert config.front_end.sample_rate == 8000
    assert torch.equal(config.front_end.build().standardise(spectrograms), spectrograms)


@pytest.mark.parametrize(
    "values, message",
    [
        ({"model_type": "wav2vec2"}, "model_type is 'wav2vec2', known are audio-spec"),
        ({"hidden_act": "relu"}, "hidden_act is 'relu', ours is 'gelu'"),
        ({"layer_norm_eps": 1e-3}, "layer_norm_eps is 0.001"),
        ({"num_hidden_layers": 10**9}, "num_hidden_layers is 1000000000, by the weights 2"),
        ({"hidden_size": 10**9}, "hidden_size is 1000000000, by the weights 128"),
        ({"num_attention_heads": 3}, "embed_dim 128 cannot be shared by 3 heads"),
        ({"num_attention_heads": "2"}, "num_attention_heads is '2'"),
        ({"max_length": 1024}, "55 position embeddings do not fill a grid"),
        ({"max_length": 10**9}, "grid_size of its geometry is no two whole numbers"),
        ({"time_stride": 16}, "55 position embeddings do not fill a grid"),
        ({"patch_size": 8}, None),  # both sides of a patch alike: the weights tell better
        ({"num_mel_bins": None}, "num_mel_bins is None"),
    ],
)
def test_settings_that_do_not_go_with_the_weights_are_refused(values, message, folder, tmp_path):
    edit(folder / "config.json", **values)
    if message is None:
        import_model(folder, tmp_path / "ours")
        return
    with pytest.raises(ValueError, match=message) as raised:
        import_model(folder, tmp_path / "ours")
    line = str(raised.value)
    assert line.startswith(f"{folder / 'model.safetensors'}: ") and "\n" not in line
    assert not (tmp_path / "ours").exists()


@pytest.mark.parametrize(
    "values, message",
    [
        ({"max_length": 1024}, "max_length is 1024, in config.json 96"),
        ({"mean": "loud"}, "mean is 'loud', no number"),
        ({"std": 0}, "std must be positive"),
        ({"mean": 10**400}, "front_end.mean is 1000.*, not a number of at most 1000000"),
        ({"std": math.nan}, "front_end.std is nan, not a number"),
        ({"sampling_rate": 20_000_000}, "front_end.sample_rate is 20000000, not a whole number"),
    ],
)
def test_a_front_end_that_does_not_fit_is_refused(values, message, folder, tmp_path):
    path = folder / "preprocessor_config.json"
    edit(path, **{"sampling_rate": 16000, "mean": -4, "std": 4} | values)
    with pytest.raises(ValueError, match=message) as raised:
        import_model(folder, tmp_path / "ours")
    assert str(raised.value).startswith(f"{folder / 'model.safetensors'}: ")


def test_no_front_end_is_built_of_numbers_out_of_range(folder, tmp_path, monkeypatch):
    def refuse(*_, **__):
        raise AssertionError("400 MB of filters would be made")

    monkeypatch.setattr(model_config, "LogMelFilterbank", refuse)
    strides = {"num_mel_bins": 160000, "frequency_stride": 39000}  # the same grid
    edit(folder / "config.json", **strides)
    edit(folder / "preprocessor_config.json", sampling_rate=16000, mean=-4, std=4, **strides)
    with pytest.raises(ValueError, match="architecture.num_mel_bins is 160000, not a whole"):
        import_model(folder, tmp_path / "ours")


@pytest.mark.parametrize("name", ["config.json", "preprocessor_config.json"])
@pytest.mark.parametrize("content", ["{", "[]", "[" * 10**5])
def test_files_that_are_not_json_are_refused(name, content, folder, tmp_path):
    (folder / name).write_text(content)
    with pytest.raises(ValueError, match=f"model.safetensors: .*{name} is damaged"):
        import_model(folder, tmp_path / "ours")


def test_weights_alone_are_refused(folder, tmp_path):
    (folder / "config.json").unlink()
    with pytest.raises(ValueError, match="config.json is missing beside it"):
        import_model(folder / "model.safetensors", tmp_path / "ours")


def test_missing_weights_are_told(folder, tmp_path):
    weights = safetensors.torch.load_file(folder / "model.safetensors")
    del weights["layernorm.bias"]
    safetensors.torch.save_file(weights, folder / "model.safetensors")
    with pytest.raises(ValueError, match="model.safetensors: 'layernorm.bias'.* missing"):
        import_model(folder, tmp_path / "ours")
