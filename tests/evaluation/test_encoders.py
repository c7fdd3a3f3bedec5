"""Encoders by name: ours as they are used, untrained ones, baselines, and modules of others."""

import sys
import textwrap

import pytest
import torch

from ssast_recipes.data.headers import audio_info
from ssast_recipes.data.manifest import Clip
from ssast_recipes.evaluation.encoders import check_encoder, load_encoder
from ssast_recipes.evaluation.tasks import make_task
from ssast_recipes.inference import AudioEncoder
from ssast_recipes.inference.reading import read_clip
from ssast_recipes.model.filterbank import LogMelFilterbank
from ssast_recipes.objectives.baselines import log_mel_features
from tests.evaluation.hums import make_hums
from tests.weights.formats.test_folder import save


@pytest.fixture
def clips(tmp_path):
    paths = sorted(make_hums(tmp_path / "hums", count=2).rglob("*.wav"))
    whole = audio_info(paths[0]).duration
    made = [Clip(str(n), str(path), 0.0, whole, 8000) for n, path in enumerate(paths)]
    return [*made, Clip("part", str(paths[0]), 0.05, 0.1, 8000)]


def embed(name, clips, **options):
    return torch.stack([*load_encoder(name, "cpu").embed(clips, **options)])


@pytest.mark.parametrize("kind", ["encoder", "masked classifier", "autoencoder"])
def test_a_model_folder_embeds_as_an_audio_encoder_does(kind, clips, tmp_path):
    save(tmp_path / "m", kind)
    encoder = AudioEncoder.from_pretrained(tmp_path / "m", "cpu")
    expected = torch.stack([encoder.encode(read_clip(clip, 16000), 16000) for clip in clips])
    found = embed(str(tmp_path / "m"), clips)
    torch.testing.assert_close(found[:, 0], expected)
    assert not torch.allclose(found[0], found[-1])  # a stretch is not its file


def test_every_layer_is_embedded_and_the_last_is_the_embedding(clips, tmp_path):
    save(tmp_path / "m", "encoder")
    layers = embed(str(tmp_path / "m"), clips, detail="layers")
    assert layers.shape == (len(clips), 3, 16)
    torch.testing.assert_close(layers[:, -1:], embed(str(tmp_path / "m"), clips))
    # The final norm is all that is between the last block and the embedding, clip by clip linear
    # only token by token: they differ.
    assert not torch.allclose(layers[:, 1], layers[:, 2])


def test_untrained_encoders_have_the_architecture_and_are_always_the_same(clips, tmp_path):
    torch.manual_seed(3)
    save(tmp_path / "m", "encoder")
    name = f"random:{tmp_path / 'm'}"
    first, trained = embed(name, clips), embed(str(tmp_path / "m"), clips)
    torch.manual_seed(5)
    assert torch.equal(embed(name, clips), first)
    assert first.shape == trained.shape and not torch.allclose(first, trained)
    keys = [load_encoder(one, "cpu").key for one in (name, str(tmp_path / "m"))]
    assert keys[0]["architecture"] == keys[1]["architecture"]
    assert keys[0]["front_end"] == keys[1]["front_end"] and "weights" not in keys[0]


def test_the_weights_are_part_of_the_key(tmp_path):
    keys = []
    for seed in (0, 1, 0):
        torch.manual_seed(seed)
        save(tmp_path / "m", "encoder")
        keys.append(load_encoder(str(tmp_path / "m"), "cpu").key)
    assert keys[0] == keys[2] != keys[1]


def test_log_mel_is_the_baseline_of_training_up_to_what_files_hold(clips):
    task = make_task("mine", {"": {"train": clips, "test": clips}}, [], metrics=("accuracy",))
    encoder = load_encoder("log-mel").for_task(task)
    filterbank = LogMelFilterbank(16000, 64, high_frequency=4000.0)
    expected = [
        log_mel_features(filterbank(read_clip(clip, 16000).unsqueeze(0))[0]) for clip in clips
    ]
    found = torch.stack([*encoder.embed(clips)])[:, 0]
    torch.testing.assert_close(found, torch.stack(expected))
    assert encoder.key != load_encoder("log-mel").key and encoder.is_baseline


@pytest.mark.parametrize(("name", "width"), [("log-mel-stats", 128), ("mfcc", 80)])
def test_statistics_do_not_depend_on_what_frames_follow_which(name, width, clips):
    found = embed(name, clips)
    assert found.shape == (len(clips), 1, width) and found.isfinite().all()
    very_short = [Clip("s", clips[0].path, 0.0, 0.001, 8000)]
    assert embed(name, very_short).isfinite().all()


@pytest.fixture
def module(tmp_path, monkeypatch):
    (tmp_path / "others_encoder.py").write_text(
        textwrap.dedent("""
        import torch

        class Encoder(torch.nn.Module):
            sample_rate = 4000
            scene_embedding_size = timestamp_embedding_size = 3
            batches = []

        def load_model(path=""):
            model = Encoder()
            model.gain = 2.0 if path else 1.0
            return model

        def get_scene_embeddings(audio, model):
            model.batches.append(tuple(audio.shape))
            return model.gain * torch.stack(
                [audio.mean(1), audio.std(1), audio.amax(1)], dim=1
            )
        """)
    )
    monkeypatch.syspath_prepend(tmp_path)
    yield "module:others_encoder"
    sys.modules.pop("others_encoder", None)


def test_modules_of_others_get_batches_of_one_length_at_their_rate(module, clips):
    found = embed(module, clips)[:, 0]
    expected = [read_clip(clip, 4000) for clip in clips]
    expected = torch.stack([torch.stack([w.mean(), w.std(), w.max()]) for w in expected])
    torch.testing.assert_close(found, expected)
    assert sorted(sys.modules["others_encoder"].Encoder.batches) == [(1, 400), (6, 1000)]
    torch.testing.assert_close(embed(f"{module}=weights.pt", clips)[:, 0], 2 * expected)


def test_our_own_module_is_one(clips, tmp_path):
    save(tmp_path / "m", "encoder")
    name = f"module:ssast_recipes.inference.hear={tmp_path / 'm'}"
    torch.testing.assert_close(embed(name, clips), embed(str(tmp_path / "m"), clips))


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("module:no_such_module", "there is no Python module no_such_module; install it"),
        ("module:json", "module:json: the module has no load_model"),
    ],
)
def test_modules_that_are_none_are_told(name, told):
    with pytest.raises(ValueError, match=told):
        load_encoder(name)


@pytest.mark.parametrize(
    ("code", "told"),
    [
        ("import no_such_part", "importing it fails: No module named 'no_such_part'"),
        (
            "def load_model(): raise RuntimeError('no\\nGPU')",
            "load_model fails: RuntimeError: no GPU",
        ),
        ("def load_model(): return object()", "load_model fails: AttributeError: .*sample_rate"),
    ],
)
def test_what_a_module_of_others_raises_is_one_line(tmp_path, monkeypatch, code, told):
    (tmp_path / "raising_encoder.py").write_text(f"{code}\nget_scene_embeddings = None\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "raising_encoder", raising=False)
    with pytest.raises(ValueError, match=f"^module:raising_encoder: {told}"):
        load_encoder("module:raising_encoder")


def test_encoders_that_are_not_there_are_told_before_anything_else():
    for name in ("log-mel", "random:base", "runs/{fold}", "module:a"):
        check_encoder(name)
    with pytest.raises(FileNotFoundError, match="nothing/here does not exist"):
        check_encoder("./nothing/here")
    with pytest.raises(FileNotFoundError, match="after random: comes tiny, small, base or an enc"):
        check_encoder("random:./huge")


def test_moments_of_every_layer_are_columns_brought_to_twelve(clips, tmp_path):
    save(tmp_path / "m", "classifier")
    steps = embed(str(tmp_path / "m"), clips, detail="steps")
    assert steps.shape == (len(clips), 3, 12, 16)
    encoder = AudioEncoder.from_pretrained(tmp_path / "m", "cpu")
    columns = encoder.encode_frames(read_clip(clips[0], 16000), 16000).embeddings
    expected = log_mel_features(columns).view(12, 16)
    torch.testing.assert_close(steps[0, -1], expected)


@pytest.mark.parametrize(("name", "moments"), [("log-mel", 12), ("mfcc", 1)])
def test_baselines_know_moments_if_they_have_some(name, moments, clips):
    steps, whole = embed(name, clips, detail="steps"), embed(name, clips)
    assert steps.shape[:3] == (len(clips), 1, moments)
    assert torch.equal(steps.flatten(2), whole)
