"""Lengths that headers do not tell, or tell wrongly, and files that cannot be sought in."""

import io

import numpy as np
import pytest
import soundfile
import torch

from ssast_recipes.data.batches import as_float
from ssast_recipes.data.headers import audio_info
from ssast_recipes.data.mp3 import first_frame
from ssast_recipes.data.pipelines import WaveformReader
from ssast_recipes.data.shards import Member

RATE = 16000
SECONDS = 6
DELAYS = (576, 1105)  # samples, of the encoder, and of decoder and encoder


def read(path, start, duration):
    return as_float(WaveformReader()(path, start, duration, epoch=0, clip_id="a"))


@pytest.fixture
def noise():
    return np.random.default_rng(0).uniform(-0.5, 0.5, SECONDS * RATE)


@pytest.fixture
def streamed(tmp_path, noise):
    """FLAC as `flac -c` and ffmpeg write it to a pipe: without a length and without a checksum."""
    path = tmp_path / "streamed.flac"
    soundfile.write(path, noise, RATE)
    content = bytearray(path.read_bytes())
    content[21] &= 0xF0
    content[22:42] = bytes(20)
    path.write_bytes(content)
    return path


def test_flac_from_a_pipe_is_as_long_as_it_is_and_read_up_to_its_end(streamed, noise):
    assert audio_info(streamed) == (SECONDS * RATE, RATE, 1)
    for start, duration in ((0.0, 6.0), (1.25, 0.5), (5.5, 0.5)):
        part = noise[round(start * RATE) : round((start + duration) * RATE)]
        expected = torch.from_numpy(part).float()
        torch.testing.assert_close(read(streamed, start, duration), expected, rtol=0, atol=2**-15)


def test_so_is_a_member_of_a_shard(streamed, noise, tmp_path):
    data = streamed.read_bytes()
    (tmp_path / "a.tar").write_bytes(b"before" + data + b"behind")
    location = Member(str(tmp_path / "a.tar"), 6, len(data)).location
    assert audio_info(location) == (SECONDS * RATE, RATE, 1)
    assert torch.equal(read(location, 5.0, 1.0), read(streamed, 5.0, 1.0))


def mp3(mode="VARIABLE", loud_first=True, channels=1):
    """Half of it noise, half a tone, which takes much less."""
    places = np.arange(SECONDS * RATE // 2)
    tone = 0.3 * np.sin(2 * np.pi * 440 * places / RATE)
    hiss = np.random.default_rng(0).uniform(-0.5, 0.5, len(places))
    samples = np.concatenate([hiss, tone] if loud_first else [tone, hiss])
    file = io.BytesIO()
    soundfile.write(
        file,
        np.stack([samples] * channels, axis=1),
        RATE,
        format="MP3",
        bitrate_mode=mode,
        compression_level=0.1,
    )
    return file.getvalue()


def without_tag(content):
    """As encoders leave it that write to a pipe, and cutters."""
    rest = content[200:]  # behind the table in the tag, which might look like a frame
    return rest[first_frame(io.BytesIO(rest)).offset :]


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("loud_first", [True, False])
def test_mp3_of_variable_bit_rate_without_a_tag_is_as_long_as_it_is(tmp_path, loud_first, channels):
    content = mp3(loud_first=loud_first, channels=channels)
    path, tagged = tmp_path / "a.mp3", tmp_path / "tagged.mp3"
    path.write_bytes(without_tag(content))
    tagged.write_bytes(content)
    guessed = soundfile.info(path).duration
    assert abs(guessed - SECONDS) > 1  # what libsndfile believes
    assert audio_info(tagged).num_samples == SECONDS * RATE
    info = audio_info(path)
    assert info.duration == pytest.approx(SECONDS, abs=0.1)
    assert len(read(path, 0.0, info.duration)) == info.num_samples
    hiss, expected = (read(one, 0.5 if loud_first else 4.5, 1.0) for one in (path, tagged))
    # Of a file with a tag, both delays are known and left out.
    alike = [torch.corrcoef(torch.stack([hiss[n:][:8000], expected[:8000]]))[0, 1] for n in DELAYS]
    assert max(alike) > 0.95


def test_mp3_of_constant_bit_rate_stays_what_it_was(tmp_path):
    path = tmp_path / "a.mp3"
    path.write_bytes(b"ID3\x04\0\0\0\0\x02\x01" + bytes(257) + without_tag(mp3("CONSTANT")))
    assert audio_info(path).num_samples == soundfile.info(path).frames


def test_a_cut_mp3_is_refused_by_its_tag(tmp_path):
    content = mp3()
    (tmp_path / "a.mp3").write_bytes(content[: len(content) // 2])
    with pytest.raises(ValueError, match=r"a.mp3 is cut off: \d+ bytes are missing at its end"):
        audio_info(tmp_path / "a.mp3")


def test_files_that_cannot_be_sought_in_are_read_from_the_start(tmp_path, noise):
    """GSM, as telephone systems record."""
    path = tmp_path / "call.wav"
    soundfile.write(path, noise[:32000], 8000, subtype="GSM610")
    whole, _ = soundfile.read(path, frames=32000, dtype="float32")
    reader = WaveformReader(8000)
    assert audio_info(path).num_samples == 32000
    for start, duration in ((0.0, 4.0), (1.5, 1.0), (3.75, 0.25)):
        part = whole[round(8000 * start) : round(8000 * (start + duration))]
        assert torch.equal(reader(path, start, duration, 1, "a"), torch.from_numpy(part))
