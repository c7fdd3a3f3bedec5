import dataclasses
import json
import os
import sys
import tarfile

import numpy as np
import pytest
import soundfile
import torch

from ssast_recipes.commands.main import main
from ssast_recipes.data.batches import as_float
from ssast_recipes.data.manifest import Clip, read_manifest, write_manifest
from ssast_recipes.data.pipelines import WaveformReader
from ssast_recipes.data.preparation import packing
from ssast_recipes.data.preparation.packing import Packing, pack
from ssast_recipes.data.shards import split_location
from tests.processes import has_members, kill_while_writing, running, wait_until

SMALL = Packing(audio_format="wav", shard_bytes=4 * 1600 * 2)  # four clips a shard


@pytest.fixture
def corpus(tmp_path):
    """A manifest of ten tenths of a second: 16 kHz, 8 kHz in stereo, and a long file in parts."""
    rng = np.random.default_rng(0)
    clips = []
    for number in range(6):
        rate, shape = (8000, (800, 2)) if number % 2 else (16000, (1600,))
        path = tmp_path / f"{number}.wav"
        soundfile.write(path, rng.uniform(-0.5, 0.5, shape), rate, subtype="PCM_16")
        labels = ("dog", "rain") if number == 3 else ()
        clips.append(Clip(f"c.{number}", str(path), 0.0, 0.1, rate, labels, {"fold": f"{number}"}))
    soundfile.write(tmp_path / "long.flac", rng.uniform(-0.5, 0.5, 16000), 16000)
    for part in range(4):
        path, start = str(tmp_path / "long.flac"), 0.1 + 0.2 * part
        clips.append(Clip(f"long-{part}", path, start, 0.1, 16000, (), {"fold": "9"}))
    write_manifest(tmp_path / "train.csv", clips)
    return tmp_path / "train.csv"


def read(clip):
    return as_float(WaveformReader()(clip.path, clip.start, clip.duration, 0, clip.id))


@pytest.mark.parametrize("audio_format", ["wav", "flac"])
@pytest.mark.parametrize("num_workers", [1, 2])
def test_shards_hold_what_the_manifest_lists(corpus, tmp_path, audio_format, num_workers):
    chosen = SMALL._replace(audio_format=audio_format)
    packed = read_manifest(pack(corpus, tmp_path / "shards", chosen, num_workers))
    originals = {clip.id: clip for clip in read_manifest(corpus)}
    assert sorted(clip.id for clip in packed) == sorted(originals)
    for clip in packed:
        original = originals[clip.id]
        assert (clip.labels, clip.extra) == (original.labels, original.extra)
        assert (clip.start, clip.duration, clip.sample_rate) == (0.0, 0.1, 16000)
        exact = original.sample_rate == 16000
        torch.testing.assert_close(
            read(clip), read(original), rtol=0, atol=0 if exact else 0.5 * 2**-15
        )
    assert [clip.id for clip in packed] != list(originals)


def test_shards_have_webdatasets_names_and_the_size_asked_for(corpus, tmp_path):
    pack(corpus, tmp_path / "shards", SMALL)
    shards = sorted((tmp_path / "shards").glob("*.tar"))
    assert [shard.name for shard in shards] == [f"train-{n:06d}.tar" for n in range(3)]
    found = []
    for shard, count in zip(shards, (4, 4, 2), strict=True):
        with tarfile.open(shard) as tar:
            names = tar.getnames()
            assert len(names) == 2 * count
            for audio, about in zip(names[::2], names[1::2], strict=True):
                assert (audio.removesuffix(".wav"), about) == (about.removesuffix(".json"), about)
                assert "." not in audio.removesuffix(".wav")
                found.append(json.loads(tar.extractfile(about).read()))
    assert {about["id"] for about in found} == {clip.id for clip in read_manifest(corpus)}
    assert next(about for about in found if about["id"] == "c.3") == {
        "id": "c.3",
        "labels": ["dog", "rain"],
        "duration": 0.1,
        "fold": "3",
    }


def bytes_of(folder):
    return {path.name: path.read_bytes() for path in folder.glob("*.tar")}


def test_an_interrupted_packing_goes_on(corpus, tmp_path, monkeypatch):
    pack(corpus, tmp_path / "whole", SMALL)
    write = packing._write_shard
    written = []

    def interrupted(task, work, packing):
        if len(written) == 1:
            raise KeyboardInterrupt
        written.append(task.shard.name)
        write(task, work, packing)

    with monkeypatch.context() as patch:
        patch.setattr(packing, "_write_shard", interrupted)
        with pytest.raises(KeyboardInterrupt):
            pack(corpus, tmp_path / "shards", SMALL)
    assert not (tmp_path / "shards" / "train.csv").exists()
    first = tmp_path / "shards" / "train-000000.tar"
    before = first.stat().st_mtime_ns
    for name in ("train-000001.tar", "train.packing/train-000001.csv"):
        kill_while_writing(tmp_path / "shards" / name)
    pack(corpus, tmp_path / "shards", SMALL)
    assert first.stat().st_mtime_ns == before
    assert bytes_of(tmp_path / "shards") == bytes_of(tmp_path / "whole")
    assert not list((tmp_path / "shards").rglob("*.part"))


PACK = """
import sys
from ssast_recipes.data.preparation.packing import Packing, pack
if __name__ == "__main__":
    pack(sys.argv[1], sys.argv[2], Packing(shard_bytes=20_000_000), num_workers=2)
"""


@pytest.mark.slow
def test_workers_end_when_packing_is_killed(corpus, tmp_path):
    clips = read_manifest(corpus)
    many = [dataclasses.replace(clips[0], id=f"c{number}") for number in range(20000)]
    write_manifest(tmp_path / "many.csv", many)
    (tmp_path / "script.py").write_text(PACK)
    script = [tmp_path / "script.py", tmp_path / "many.csv", tmp_path / "shards"]
    with running([sys.executable, *script]) as process:
        wait_until(lambda: len(list(tmp_path.glob("shards/*.part"))) == 2)
        process.kill()
        process.wait()
        wait_until(lambda: not has_members(process.pid), seconds=60)
    assert not (tmp_path / "shards" / "many.csv").exists()  # it was killed at work


def test_a_shard_that_was_deleted_is_written_again(corpus, tmp_path):
    packed = pack(corpus, tmp_path / "shards", SMALL)
    before, listed = bytes_of(tmp_path / "shards"), packed.read_bytes()
    os.remove(tmp_path / "shards" / "train-000001.tar")
    pack(corpus, tmp_path / "shards", SMALL)
    assert (bytes_of(tmp_path / "shards"), packed.read_bytes()) == (before, listed)


def test_another_packing_is_not_mixed_in(corpus, tmp_path):
    pack(corpus, tmp_path / "shards", SMALL)
    before = bytes_of(tmp_path / "shards")
    with pytest.raises(ValueError, match="holds shards of another train.csv, or made with other"):
        pack(corpus, tmp_path / "shards", SMALL._replace(seed=1))
    with pytest.raises(ValueError, match="would be replaced by the packed one"):
        pack(corpus, tmp_path)
    with pytest.raises(ValueError, match="shards hold flac or wav, not 'mp3'"):
        pack(corpus, tmp_path / "other", SMALL._replace(audio_format="mp3"))
    assert bytes_of(tmp_path / "shards") == before


def test_unreadable_clips_are_left_out_and_listed(corpus, tmp_path):
    (tmp_path / "2.wav").write_bytes(b"no audio")
    with pytest.raises(ValueError, match="1 of 10 audio files cannot be used.*train_rejected.csv"):
        pack(corpus, tmp_path / "shards", SMALL)
    assert not (tmp_path / "shards" / "train.csv").exists()
    packed = pack(corpus, tmp_path / "shards", SMALL, max_rejected=0.2)
    assert "c.2" not in {clip.id for clip in read_manifest(packed)}
    assert len(read_manifest(packed)) == 9
    listed = (tmp_path / "shards" / "train_rejected.csv").read_text()
    assert listed.startswith("ID,reason\nc.2,") and "not readable" in listed


def test_damaged_clips_are_not_packed_short(tmp_path):
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, 160_000)
    clips = []
    for name in ("good", "bad"):
        path = tmp_path / f"{name}.ogg"
        soundfile.write(path, noise, 16000)
        clips.append(Clip(name, str(path), 0.0, 10.0, 16000))
    write_manifest(tmp_path / "train.csv", clips)
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 20_000] = bytes(20_000)
    path.write_bytes(content)
    packed = pack(tmp_path / "train.csv", tmp_path / "shards", max_rejected=0.5)
    assert [(clip.id, clip.duration) for clip in read_manifest(packed)] == [("good", 10.0)]
    listed = (tmp_path / "shards" / "train_rejected.csv").read_text().splitlines()
    assert len(listed) == 2 and "bad.ogg: damaged, or" in listed[1]


@pytest.mark.parametrize("audio_format", ["wav", "flac"])
def test_what_16_bits_cannot_hold_is_counted_told_and_kept(tmp_path, audio_format, caplog):
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, 1600).astype(np.float32)
    peaks = noise.copy()
    peaks[[7, 77]] = 1.25, -1.25  # as resampling loud music does
    waveforms = {"usual": noise, "units": 2.0**15 * noise, "quiet": 1e-9 * noise, "peaks": peaks}
    clips = []
    for name, samples in waveforms.items():
        soundfile.write(tmp_path / f"{name}.wav", samples, 16000, subtype="FLOAT")
        clips.append(Clip(name, str(tmp_path / f"{name}.wav"), 0.0, 0.1, 16000))
    write_manifest(tmp_path / "train.csv", clips)
    packed = pack(tmp_path / "train.csv", tmp_path / "shards", Packing(audio_format))
    found = {clip.id: read(clip).numpy() for clip in read_manifest(packed)}
    for name in ("units", "quiet"):
        assert np.array_equal(found[name], waveforms[name])
    np.testing.assert_allclose(found["usual"], noise, rtol=0, atol=2**-16)
    np.testing.assert_allclose(found["peaks"], peaks.clip(-1, 1), rtol=0, atol=2**-15)
    floats, clipped = (record.getMessage() for record in caplog.records)
    assert floats.startswith("2 of 4 clips are far louder or quieter than samples of 16 bits")
    assert "units" in floats and "quiet" in floats
    assert clipped.startswith("1 of 4 clips are louder than full scale in places: 2 samples were")
    assert clipped.endswith("such as in peaks")


def test_the_command_says_what_to_give_to_train(corpus, tmp_path, capsys):
    folder = tmp_path / "shards"
    options = ["--format", "wav", "--shard-megabytes", "0.0128", "--num-workers", "1"]
    assert main(["pack", str(corpus), str(folder), *options]) == 0
    said = capsys.readouterr().out
    assert "10 clips, 0.0 hours, in 3 shard(s)" in said
    assert f'--train_manifests "[{folder / "train.csv"}]"' in said
    # The manifest of what was packed can be packed again, and is a manifest of shards.
    assert all(split_location(clip.path) for clip in read_manifest(folder / "train.csv"))
    assert main(["pack", str(folder / "train.csv"), str(tmp_path / "again"), *options]) == 0
