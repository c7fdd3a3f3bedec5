"""Formats that libsndfile does not open; of the extra `codecs`, which need not be installed."""

import numpy as np
import pytest
import torch

from ssast_recipes.data.batches import as_float
from ssast_recipes.data.headers import audio_info
from ssast_recipes.data.pipelines import WaveformReader
from ssast_recipes.data.shards import Member, UnreadableAudioError

av = pytest.importorskip("av")
RATE = 16000


def tone(seconds, channels=2):
    places = np.arange(round(seconds * RATE)) / RATE
    return np.stack([0.4 * np.sin(2 * np.pi * 440 * places)] * channels).astype(np.float32)


@pytest.fixture
def voice(tmp_path):
    """An AAC file of two seconds, as phones record."""
    path = tmp_path / "voice.m4a"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=RATE, layout="stereo")
        frame = av.AudioFrame.from_ndarray(tone(2.0), "fltp", "stereo")
        frame.sample_rate, frame.pts = RATE, 0
        for part in (frame, None):
            for packet in stream.encode(part):
                container.mux(packet)
    return path


def test_a_phones_recording_is_read_as_any_other(voice, tmp_path):
    info = audio_info(voice)
    assert (info.sample_rate, info.num_channels) == (RATE, 2)
    assert info.duration == pytest.approx(2.0, abs=0.1)
    expected = torch.from_numpy(tone(2.0)[0])
    read = as_float(WaveformReader()(voice, 0.5, 1.0, 0, "a"))
    assert len(read) == RATE
    torch.testing.assert_close(read, expected[8000:24000], rtol=0, atol=0.05)
    data = voice.read_bytes()
    (tmp_path / "a.tar").write_bytes(b"before" + data)
    location = Member(str(tmp_path / "a.tar"), 6, len(data)).location
    assert audio_info(location) == info
    assert torch.equal(as_float(WaveformReader()(location, 0.5, 1.0, 0, "a")), read)


@pytest.mark.parametrize("share", [0.0, 0.5, 0.95])
def test_damage_is_told(voice, share):
    content = voice.read_bytes()
    voice.write_bytes(content[: int(len(content) * share)] or b"no audio")
    with pytest.raises(ValueError, match="voice.m4a"):
        audio_info(voice)
    with pytest.raises(UnreadableAudioError, match="voice.m4a: not readable as audio"):
        WaveformReader()(voice, 0.0, 2.0, 0, "a")
