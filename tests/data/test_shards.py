import io
import os
import tarfile
import tracemalloc

import numpy as np
import pytest
import soundfile
import torch

from ssast_recipes.data import shards
from ssast_recipes.data.headers import audio_info
from ssast_recipes.data.pipelines import WaveformReader
from ssast_recipes.data.shards import Member, UnreadableAudioError, open_audio, split_location


def encoded(samples, rate=16000, audio_format="WAV", subtype="PCM_16"):
    file = io.BytesIO()
    soundfile.write(file, samples, rate, format=audio_format, subtype=subtype)
    return file.getvalue()


def test_a_location_comes_back():
    member = Member("/a folder/train:1-000000.tar", 1024, 7)
    assert split_location(member.location) == member


@pytest.mark.parametrize("path", ["/a.wav", "/a.tar", "/a.tar:1", "/a.wav:1:2", "/a.tar:1:2:x"])
def test_other_paths_are_files(path):
    assert split_location(path) is None


@pytest.mark.parametrize("kind", ["WAV", "FLAC", "OGG"])
def test_a_member_reads_as_its_file(tmp_path, kind):
    samples = 0.5 * np.sin(np.arange(9000) / 7)
    data = encoded(samples, 8000, kind, None if kind == "OGG" else "PCM_16")
    (tmp_path / f"a.{kind}").write_bytes(data)
    (tmp_path / "a.tar").write_bytes(os.urandom(700) + data + os.urandom(900))
    read = WaveformReader(8000, max_duration=0.25, crop="random", seed=3)
    paths = [tmp_path / f"a.{kind}", Member(str(tmp_path / "a.tar"), 700, len(data)).location]
    whole, member = (read(path, 0.125, 1.0, epoch=2, clip_id="a") for path in paths)
    assert len(whole) == 2000 and torch.equal(whole, member)


def test_what_a_shard_does_not_hold_is_unreadable(tmp_path):
    data = encoded(np.zeros(800))
    shard = tmp_path / "a.tar"
    shard.write_bytes(data[:-10])
    with pytest.raises(UnreadableAudioError, match="a.tar:0:1644: .* ends 10 bytes before"):
        open_audio(Member(str(shard), 0, len(data)).location)
    with pytest.raises(UnreadableAudioError, match="not readable as audio: "):
        open_audio(Member(str(shard), 3, 200).location)
    with pytest.raises(UnreadableAudioError, match="b.tar:0:9: .*No such file"):
        open_audio(Member(str(tmp_path / "b.tar"), 0, 9).location)


def test_reading_does_not_keep_more_than_64_shards_open(tmp_path):
    data = encoded(np.zeros(80))
    before = len(os.listdir("/proc/self/fd"))
    for number in range(100):
        shard = tmp_path / f"{number}.tar"
        shard.write_bytes(data)
        with open_audio(Member(str(shard), 0, len(data)).location) as audio:
            assert audio.frames == 80
    assert len(os.listdir("/proc/self/fd")) <= before + 64


def test_sixteen_bits_stay_what_they_are(tmp_path):
    """Half as many bytes to hand from process to process, and exact."""
    samples = np.random.default_rng(0).integers(-(2**15), 2**15, 500, dtype=np.int16)
    (tmp_path / "a.wav").write_bytes(encoded(samples))
    waveform = WaveformReader()(tmp_path / "a.wav", 0.0, 500 / 16000, 1, "a")
    assert torch.equal(waveform, torch.from_numpy(samples))
    (tmp_path / "b.wav").write_bytes(encoded(np.stack([samples, samples], axis=1)))
    stereo = WaveformReader()(tmp_path / "b.wav", 0.0, 500 / 16000, 1, "b")
    assert torch.equal(stereo, waveform.float() / 2**15)


def test_a_shard_is_a_tar_file_to_others(tmp_path):
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        data = encoded(np.zeros(160))
        info = tarfile.TarInfo("x.wav")
        info.size = len(data)
        tar.addfile(info, io.BytesIO(data))
    with tarfile.open(tmp_path / "a.tar") as tar:
        info = tar.getmember("x.wav")
    location = Member(str(tmp_path / "a.tar"), info.offset_data, info.size).location
    with open_audio(location) as audio:
        assert audio.frames == 160


def test_claims_of_size_take_no_memory(tmp_path):
    """Neither a manifest's of a member, nor a header's of a clip."""
    (tmp_path / "a.tar").write_bytes(encoded(np.zeros(800)))
    flac = bytearray(encoded(np.zeros(200_000), audio_format="FLAC"))
    flac[21] |= 0x0F  # the number of samples, 36 bits of STREAMINFO
    flac[22:26] = b"\xff\xff\xff\xff"
    (tmp_path / "a.flac").write_bytes(flac)
    tracemalloc.start()
    with pytest.raises(UnreadableAudioError, match="the shard ends 99999999[0-9]+ bytes before"):
        open_audio(f"{tmp_path}/a.tar:0:999999999999")
    with soundfile.SoundFile(tmp_path / "a.flac") as audio:
        assert audio.frames == 2**36 - 1
        with pytest.raises(soundfile.LibsndfileError):  # no MemoryError
            shards.read_samples(audio, audio.frames, "float32")
    assert audio_info(tmp_path / "a.flac").num_samples == 200_000  # as counted
    assert tracemalloc.get_traced_memory()[1] < 2**27
    tracemalloc.stop()


def test_long_files_are_read_in_blocks_to_the_sample(tmp_path, monkeypatch):
    soundfile.write(tmp_path / "a.ogg", np.random.default_rng(0).uniform(-0.5, 0.5, 9000), 16000)
    read = WaveformReader(16000)
    whole = read(tmp_path / "a.ogg", 0.1, 0.4, epoch=1, clip_id="a")
    monkeypatch.setattr(shards, "_BLOCK", 1000)
    assert torch.equal(read(tmp_path / "a.ogg", 0.1, 0.4, epoch=1, clip_id="a"), whole)
