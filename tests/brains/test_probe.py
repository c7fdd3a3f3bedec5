import logging

import numpy as np
import pytest
import soundfile
import torch

from ssast_recipes.brains import monitoring as probe_module
from ssast_recipes.brains.monitoring import (
    LabelledProbe,
    embed,
    warn_of_collapse,
    warn_of_flat_loss,
)
from ssast_recipes.data.batches import collate
from ssast_recipes.data.manifest import Clip
from ssast_recipes.data.pipelines import WaveformReader
from ssast_recipes.evaluation.encoders import load_encoder
from ssast_recipes.evaluation.probes import PROBES, Labelled

from . import tiny
from .tiny import Clips, Killed, fit, kill_at, losses, pretraining_brain, weights

READ = WaveformReader(16000, max_duration=0.33)
SETTING = {"sample_rate": 16000, "max_duration": 0.33, "reconstruction": False}


@pytest.fixture
def labelled(tmp_path):
    """Ten hums and ten hisses, in class folders."""
    random = np.random.default_rng(0)
    seconds = np.arange(6000) / 16000
    for name in ("hum", "hiss"):
        (tmp_path / "labelled" / name).mkdir(parents=True)
        for number in range(10):
            noise = random.normal(0, 0.1, 6000)
            tone = 0.3 * np.sin(2 * np.pi * random.uniform(300, 600) * seconds)
            samples = noise + tone if name == "hum" else noise
            soundfile.write(tmp_path / "labelled" / name / f"{number}.wav", samples, 16000)
    return tmp_path / "labelled"


def measure(source, encoder=None):
    torch.manual_seed(0)
    probe = LabelledProbe(source, READ)
    return probe, probe.measure((encoder or tiny.tiny_encoder()).eval(), tiny.front_end())


def test_what_is_easily_told_is_told(labelled):
    probe, measured = measure(labelled)
    told = {"knn": 1.0, "linear": 1.0, "chance": 0.5, "log_mel": 1.0}
    assert measured == {f"{name}_accuracy": value for name, value in told.items()}
    assert int(probe.is_asked.sum()) == 4 and len(probe.is_asked) == 20


def test_labels_that_mean_nothing_are_not_told(labelled, tmp_path):
    """Measured on the known clips themselves, the linear probe would do better than chance."""
    rows = [
        f"{path},{'odd' if number % 2 else 'even'}"
        for number, path in enumerate(sorted(labelled.rglob("*.wav")))
    ]
    (tmp_path / "labels.csv").write_text("path,label\n" + "\n".join(rows) + "\n")
    _, measured = measure(tmp_path / "labels.csv")
    assert max(measured.values()) < 1
    assert measured["chance_accuracy"] == 0.5


def test_several_labels_are_judged_by_mean_average_precision(labelled, tmp_path):
    rows = [
        f"{path},{path.parent.name};loud" if number % 3 == 0 else f"{path},{path.parent.name}"
        for number, path in enumerate(sorted(labelled.rglob("*.wav")))
    ]
    (tmp_path / "labels.csv").write_text("path,label\n" + "\n".join(rows) + "\n")
    _, measured = measure(tmp_path / "labels.csv")
    assert set(measured) == {"knn_mAP", "linear_mAP", "chance_mAP", "log_mel_mAP"}


def test_the_baseline_is_that_of_evaluations(labelled):
    """The same features of the same clips, by the same regression."""
    probe, measured = measure(labelled)
    paths = [file for batch in probe.batches for file in batch.ids]
    clips = [Clip(path, path, 0.0, 0.33, 16000) for path in paths]
    features = torch.stack([*load_encoder("log-mel").embed(clips)])[:, 0]
    known = Labelled(features[~probe.is_asked], probe.targets[~probe.is_asked])
    expected = PROBES["linear"](known, features[probe.is_asked], None)
    torch.testing.assert_close(probe.baselines["log_mel"], expected, rtol=1e-3, atol=1e-3)


def test_given_splits_are_kept_and_validation_is_known(labelled, tmp_path):
    paths = sorted(labelled.rglob("*.wav"))
    splits = ["test" if n % 10 < 3 else "valid" if n % 10 < 5 else "train" for n in range(20)]
    rows = [f"{p},{p.parent.name},{s}" for p, s in zip(paths, splits, strict=True)]
    (tmp_path / "labels.csv").write_text("path,label,split\n" + "\n".join(rows) + "\n")
    probe, _ = measure(tmp_path / "labels.csv")
    asked = [i for batch in probe.batches for i in batch.ids]
    asked = [i for i, is_asked in zip(asked, probe.is_asked.tolist(), strict=True) if is_asked]
    assert asked == [str(p) for p, s in zip(paths, splits, strict=True) if s == "test"]


def test_a_large_set_is_drawn_from(labelled, monkeypatch):
    monkeypatch.setattr(probe_module, "MOST_CLIPS", 12)
    probe, _ = measure(labelled)
    assert len(probe.is_asked) == 12


def test_unreadable_files_are_left_out_and_told(labelled, caplog):
    (labelled / "hum" / "0.wav").write_bytes(b"no audio")
    with caplog.at_level(logging.WARNING):
        probe, _ = measure(labelled)
    assert len(probe.is_asked) == 19 and "0.wav is not readable audio" in caplog.text


def test_a_set_of_nothing_readable_is_an_error(labelled):
    for path in labelled.rglob("*.wav"):
        path.write_bytes(b"no audio")
    with pytest.raises(ValueError, match="probe_data .*labelled: 0 of 20 files can be read"):
        LabelledProbe(labelled, READ)


def test_embeddings_are_of_the_clip_and_not_of_its_padding():
    torch.manual_seed(0)
    encoder, front_end = tiny.tiny_encoder().eval(), tiny.front_end()
    clip = {"id": "a", "index": 0, "place": 0, "waveform": 0.1 * torch.randn(2800)}  # 16 frames
    alone = embed(encoder, front_end, collate([clip]))
    tokens = encoder(front_end(clip["waveform"][None], torch.tensor([2800]))).patch_tokens
    own = tokens.unflatten(1, encoder.grid_size)[:, :, :1].flatten(1, 2)
    torch.testing.assert_close(alone, own.mean(dim=1))


# ---- in the Brain


def probes(brain):
    return {r["step"]: r for r in brain.log.read() if r["stage"] == "probe"}


def test_probes_are_logged_and_change_nothing(labelled, tmp_path):
    options = {"num_steps": 5, **SETTING}
    plain = fit(pretraining_brain(tmp_path / "plain", **options), Clips(8))
    probed = fit(
        pretraining_brain(tmp_path / "a", probe_data=labelled, probe_interval=2, **options),
        Clips(8),
    )
    assert list(probes(probed)) == [0, 2, 4, 5]
    names = {f"{name}_accuracy" for name in ("knn", "linear", "chance", "log_mel")}
    assert all(set(r) == {"stage", "step", *names} for r in probes(probed).values())
    assert losses(plain) == losses(probed)
    for name, value in weights(plain).items():
        assert torch.equal(value, weights(probed)[name])
    assert "probe: step 2, knn_accuracy 1" in (tmp_path / "a" / "train_log.txt").read_text()


def test_a_run_that_was_killed_has_each_probe_once(labelled, tmp_path):
    options = {
        "num_steps": 6,
        "probe_data": labelled,
        "probe_interval": 2,
        "checkpoint_interval": 3,
        **SETTING,
    }
    whole = fit(pretraining_brain(tmp_path / "whole", **options), Clips(8))
    for step in (2, 5, 6):
        brain = pretraining_brain(tmp_path / "cut", **options)
        kill_at(brain, step)
        with pytest.raises(Killed):
            fit(brain, Clips(8))
    resumed = fit(pretraining_brain(tmp_path / "cut", **options), Clips(8))
    steps = [r["step"] for r in resumed.log.read() if r["stage"] == "probe"]
    assert steps == [0, 2, 4, 6] and probes(resumed) == probes(whole)


def test_wrong_probe_data_is_told_before_training(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere is not there"):
        pretraining_brain(tmp_path / "run", probe_data=tmp_path / "nowhere", **SETTING)


def test_embeddings_are_measured_at_every_validation(tmp_path):
    brain = pretraining_brain(tmp_path, num_steps=4, valid_interval=2, reconstruction=False)
    fit(brain, Clips(8), Clips(6))
    records = [r for r in brain.log.read() if r["stage"] == "embeddings"]
    assert [r["step"] for r in records] == [2, 4]
    assert all(0 < r["spread"] < 1 and 1 < r["rank"] <= 3 for r in records)  # of 4 clips


def test_a_collapsed_encoder_is_warned_of(tmp_path, caplog):
    brain = pretraining_brain(tmp_path, num_steps=1, lr=0.0, reconstruction=False)
    with torch.no_grad():
        brain.model.encoder.norm.weight.zero_()  # every token is the norm's bias
        brain.model.encoder.norm.bias.fill_(1.0)
    with caplog.at_level(logging.WARNING):
        fit(brain, Clips(8), Clips(6))
    assert "the embeddings of 4 clips are nearly alike (spread" in caplog.text


def test_an_encoder_that_learns_is_not_warned_of(tmp_path, caplog):
    with caplog.at_level(logging.WARNING):
        fit(pretraining_brain(tmp_path, num_steps=4, valid_interval=1), Clips(8), Clips(6))
    assert "nearly alike" not in caplog.text and "has not fallen" not in caplog.text


def test_a_flat_loss_is_warned_of(tmp_path, caplog):
    options = {"num_steps": 13, "valid_interval": 1, "lr": 0.0, "reconstruction": False}
    with caplog.at_level(logging.WARNING):
        fit(pretraining_brain(tmp_path, **options), Clips(8), Clips(6))
    warnings = [r.message for r in caplog.records if "has not fallen" in r.message]
    assert [text.split(" in ")[1].split(" ")[0] for text in warnings] == ["5", "10"]


def test_no_collapse_is_claimed_of_few_clips():
    assert warn_of_collapse({"spread": 0.0, "rank": 0.0}, num_clips=3) is None
    assert warn_of_collapse({"spread": 0.0, "rank": 0.0}, num_clips=4) is not None
    assert "effective rank 1.2" in warn_of_collapse({"spread": 0.5, "rank": 1.2}, num_clips=9)


def test_flatness_begins_anew_after_a_better_loss():
    def records(values):
        return [{"step": n, "loss": value} for n, value in enumerate(values)]

    falling = [5.0 * 0.99**n for n in range(20)]
    assert warn_of_flat_loss(records(falling)) is None
    assert warn_of_flat_loss([]) is None
    assert warn_of_flat_loss(records([5.0, 4.999, 4.998, 4.997, 4.996, 4.9955]))  # by less
    assert warn_of_flat_loss(records([5.0, 5.0, 5.0, 5.0, 5.0, 4.9])) is None
