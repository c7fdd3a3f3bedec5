import numpy as np
import pytest
import soundfile
import torch

from ssast_recipes.commands.main import main
from ssast_recipes.data.manifest import Clip, write_manifest
from ssast_recipes.data.pipelines import WaveformReader
from ssast_recipes.model.filterbank import LogMelFilterbank
from ssast_recipes.runs.own.statistics import spectrogram_statistics


@pytest.fixture
def clips(tmp_path):
    """Three clips of other lengths and levels; of the last, a stretch."""
    random, clips = np.random.default_rng(1), []
    for number, (seconds, level) in enumerate([(0.5, 0.01), (1.0, 0.1), (2.0, 0.5)]):
        path = tmp_path / f"{number}.wav"
        samples = level * random.standard_normal(round(16000 * seconds))
        soundfile.write(path, samples, 16000, subtype="FLOAT")
        start = 0.5 if number == 2 else 0.0
        clips.append(Clip(str(number), str(path), start, seconds - start, 16000))
    return clips


def expected(clips):
    log_mel, values = LogMelFilterbank(), []
    for clip in clips:
        samples, _ = soundfile.read(clip.path, dtype="float32", start=round(clip.start * 16000))
        values.append(log_mel(torch.from_numpy(samples).unsqueeze(0)).flatten())
    values = torch.cat(values).double()
    return values.mean().item(), values.std(unbiased=False).item()


def test_every_value_of_every_clip_counts_once(clips):
    found = spectrogram_statistics(clips, WaveformReader(), LogMelFilterbank())
    assert found == pytest.approx(expected(clips), abs=1e-5)


def test_the_command_prints_options_of_train_py(clips, tmp_path, capsys):
    write_manifest(tmp_path / "a.csv", clips[:1])
    write_manifest(tmp_path / "b.csv", clips[1:])
    assert main(["statistics", str(tmp_path / "a.csv"), str(tmp_path / "b.csv")]) == 0
    mean, std = expected(clips)
    assert capsys.readouterr().out == f"--mean {mean:.4f} --std {std:.4f}\n"


def test_of_many_clips_a_sample_is_taken(clips, tmp_path, capsys):
    write_manifest(tmp_path / "a.csv", clips)
    assert main(["statistics", str(tmp_path / "a.csv"), "--num-clips", "1"]) == 0
    line = capsys.readouterr().out
    alone = [f"--mean {mean:.4f} --std {std:.4f}\n" for mean, std in map(expected, zip(clips))]
    assert line in alone


def test_clips_without_a_frame_are_refused(tmp_path):
    soundfile.write(tmp_path / "a.wav", np.zeros(100), 16000)
    clip = Clip("a", str(tmp_path / "a.wav"), 0.0, 100 / 16000, 16000)
    with pytest.raises(ValueError, match="none of the 1 clips is as long as a frame"):
        spectrogram_statistics([clip], WaveformReader(), LogMelFilterbank())
