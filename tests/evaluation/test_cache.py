"""Embeddings on disk: hit, missed, changed, damaged, and never of what is no number."""

import os

import pytest
import soundfile
import torch

from ssast_recipes.data.manifest import Clip
from ssast_recipes.evaluation import cache
from ssast_recipes.evaluation.cache import embed_clips
from ssast_recipes.evaluation.encoders import FrozenEncoder
from ssast_recipes.inference.reading import read_clip


class Loudness(FrozenEncoder):
    """Mean and greatest sample of a clip; counts how often it is asked."""

    name = "loudness"

    def __init__(self, version=1, factor=1.0):
        self.key, self.factor, self.asked = {"version": version}, factor, []

    def embed(self, clips, detail="clip", workers=2):
        for clip in clips:
            self.asked.append(clip.id)
            try:
                samples = self.factor * read_clip(clip, 8000)
                yield torch.stack([samples.mean(), samples.max()]).unsqueeze(0)
            except ValueError as error:
                yield error


@pytest.fixture
def clips(tmp_path):
    made = []
    for number in range(5):
        path = tmp_path / f"{number}.wav"
        soundfile.write(path, [0.1 * number] * 800, 8000)
        made.append(Clip(f"{number}", str(path), 0.0, 0.1, 8000, ("a",)))
    return made


def test_what_was_computed_is_read_and_the_same(clips, tmp_path):
    first, second = Loudness(), Loudness()
    done = []
    found = embed_clips(first, clips, tmp_path / "cache")
    again = embed_clips(second, clips, tmp_path / "cache", advance=done.append)
    assert first.asked == list("01234") and second.asked == [] and sum(done) == 5
    assert torch.equal(found.values, again.values) and found.values.shape == (5, 1, 2)
    expected = [[0.1 * number] * 2 for number in range(5)]
    torch.testing.assert_close(again.values[:, 0], torch.tensor(expected), atol=1e-4, rtol=0)


def test_other_weights_other_layers_and_changed_files_are_computed_anew(clips, tmp_path):
    folder = tmp_path / "cache"
    embed_clips(Loudness(), clips, folder)
    other = Loudness(version=2)
    embed_clips(other, clips, folder)
    assert len(other.asked) == 5
    layers = Loudness()
    embed_clips(layers, clips, folder, detail="layers")
    assert len(layers.asked) == 5
    soundfile.write(clips[2].path, [0.9] * 800, 8000)
    os.utime(clips[2].path, ns=(1, 1))  # however coarse the file system's clock
    changed = Loudness()
    found = embed_clips(changed, clips, folder)
    assert len(changed.asked) == 5 and found.values[2, 0, 1] > 0.8


def test_the_same_audio_elsewhere_is_known_again(clips, tmp_path):
    embed_clips(Loudness(), clips, tmp_path / "cache")
    (tmp_path / "moved").mkdir()
    moved = []
    for clip in clips:
        path = tmp_path / "moved" / os.path.basename(clip.path)
        os.rename(clip.path, path)
        moved.append(Clip(clip.id, str(path), clip.start, clip.duration, 8000, ("b",)))
    encoder = Loudness()
    embed_clips(encoder, moved, tmp_path / "cache")
    assert encoder.asked == []


def test_an_interruption_costs_a_chunk(clips, tmp_path, monkeypatch):
    monkeypatch.setattr(cache, "CHUNK", 2)

    class Stops(Loudness):
        def embed(self, clips, detail="clip", workers=2):
            for row in super().embed(clips):
                if "3" in self.asked:
                    raise KeyboardInterrupt
                yield row

    with pytest.raises(KeyboardInterrupt):
        embed_clips(Stops(), clips, tmp_path / "cache")
    encoder = Loudness()
    embed_clips(encoder, clips, tmp_path / "cache")
    assert encoder.asked == ["2", "3", "4"]


@pytest.mark.parametrize("damage", ["cut", "flipped", "empty", "text"])
def test_a_damaged_file_is_told_and_made_again(clips, tmp_path, damage):
    found = embed_clips(Loudness(), clips, tmp_path / "cache")
    (path,) = (tmp_path / "cache").glob("*.safetensors")
    content = bytearray(path.read_bytes())
    if damage == "flipped":
        content[-3] ^= 1
    path.write_bytes({"cut": content[:-5], "flipped": content, "empty": b"", "text": b"no"}[damage])
    told, encoder = [], Loudness()
    again = embed_clips(encoder, clips, tmp_path / "cache", tell=told.append)
    assert len(encoder.asked) == 5 and torch.equal(again.values, found.values)
    assert len(told) == 1 and path.name in told[0] and "computed again" in told[0]
    third = Loudness()
    embed_clips(third, clips, tmp_path / "cache")
    assert third.asked == []


def test_a_damaged_list_of_checksums_is_made_again(clips, tmp_path):
    embed_clips(Loudness(), clips, tmp_path / "cache")
    for text in ("no", '{"a": 3}', f'{{"{clips[0].path}": [3, 4]}}'):
        (tmp_path / "cache" / "digests.json").write_text(text)
        encoder = Loudness()
        embed_clips(encoder, clips, tmp_path / "cache")
        assert encoder.asked == []


@pytest.mark.parametrize("factor", [float("nan"), float("inf")])
def test_an_encoder_that_returns_no_numbers_is_refused_and_nothing_kept(clips, tmp_path, factor):
    with pytest.raises(ValueError, match=r"loudness: its embedding of .*\.wav .* not finite"):
        embed_clips(Loudness(factor=factor), clips, tmp_path / "cache")
    assert not list((tmp_path / "cache").glob("*.safetensors"))


def test_a_clip_that_cannot_be_read_is_left_out_unless_there_are_many(clips, tmp_path):
    many = [*clips, *(clip.__class__(f"x{clip.id}", clip.path, 0.0, 0.05, 8000) for clip in clips)]
    with open(clips[1].path, "wb") as file:
        file.write(b"no audio")
    with pytest.raises(ValueError, match="2 of 10 clips cannot be read, the first: .*1.wav"):
        embed_clips(Loudness(), many, tmp_path / "cache")
    most = [clip for clip in many if clip.id != "x1"] + [
        Clip(f"y{number}", clips[0].path, 0.0, 0.01 + number / 1000, 8000) for number in range(3)
    ]
    found = embed_clips(Loudness(), most, tmp_path / "cache")
    assert found.present.tolist() == [clip.id != "1" for clip in most]
    assert len(found.reasons) == 1 and not found.values[1].any()
