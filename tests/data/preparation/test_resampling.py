import os

import numpy as np
import pytest
import soundfile

from ssast_recipes.data.preparation.resampling import resample_clip


def resampled(path, tmp_path, sample_rate=16000):
    clip = resample_clip(str(path), tmp_path / "copies", sample_rate)
    assert clip.path == str(tmp_path / "copies" / f"{path.stem}.wav")
    return clip


def test_copies_are_16_bit_mono_and_the_same_sound(tmp_path):
    seconds = np.arange(22050) / 44100
    tone = np.sin(2 * np.pi * 1000 * seconds)
    inaudible = 0.2 * np.sin(2 * np.pi * 12000 * seconds)  # above half of 16 kHz
    channels = np.stack([0.8 * tone + inaudible, 0.2 * tone + inaudible], 1)
    soundfile.write(tmp_path / "a.wav", channels, 44100, subtype="FLOAT")
    clip = resampled(tmp_path / "a.wav", tmp_path)
    assert clip.info == (8000, 16000, 1)
    assert soundfile.info(clip.path).subtype == "PCM_16"
    samples, rate = soundfile.read(clip.path)
    assert (rate, samples.shape) == (16000, (8000,))
    expected = 0.5 * np.sin(2 * np.pi * 1000 * np.arange(8000) / 16000)
    middle = slice(100, -100)
    np.testing.assert_allclose(samples[middle], expected[middle], atol=2e-3)


def test_16_bit_samples_at_the_rate_wanted_are_kept_exactly_and_others_are_rounded_and_clipped(
    tmp_path,
):
    exact = np.random.default_rng(0).integers(-(2**15), 2**15, 1600, dtype=np.int16)
    soundfile.write(tmp_path / "exact.wav", exact, 16000)
    copy = resampled(tmp_path / "exact.wav", tmp_path).path
    assert np.array_equal(soundfile.read(copy, dtype="int16")[0], exact)
    loud = np.array([1.05, -1.05, 20000.7 / 2**15] * 500)
    soundfile.write(tmp_path / "loud.wav", loud, 16000, subtype="FLOAT")
    copy = resampled(tmp_path / "loud.wav", tmp_path)
    assert soundfile.read(copy.path, dtype="int16")[0][:3].tolist() == [32767, -32768, 20001]
    assert copy.num_clipped == 1000


@pytest.mark.parametrize("scale", [2**15, 1e-9], ids=["units of 16 bits", "very quiet"])
def test_what_16_bits_cannot_hold_is_kept_in_32(tmp_path, scale):
    samples = scale * np.random.default_rng(0).uniform(-0.5, 0.5, 1600)
    soundfile.write(tmp_path / "a.wav", samples, 16000, subtype="FLOAT")
    copy = resampled(tmp_path / "a.wav", tmp_path)
    assert np.array_equal(soundfile.read(copy.path)[0], samples.astype(np.float32))


@pytest.mark.parametrize(
    ("peak", "is_silent"), [(0, True), (0.4, True), (1, False), (-1, False), (300, False)]
)
def test_silence_is_less_than_one_16_bit_step_anywhere(tmp_path, peak, is_silent):
    samples = np.zeros(1600)
    samples[700] = peak / 2**15
    soundfile.write(tmp_path / "a.wav", samples, 16000, subtype="FLOAT")
    assert resampled(tmp_path / "a.wav", tmp_path).is_silent == is_silent


@pytest.mark.parametrize("num_samples", [999, 1000, 44100])
@pytest.mark.parametrize("sample_rate", [8000, 16000, 48000])
def test_a_copy_is_used_again(tmp_path, num_samples, sample_rate):
    soundfile.write(tmp_path / "a.flac", np.full(num_samples, 0.1), 44100)
    first = resampled(tmp_path / "a.flac", tmp_path, sample_rate)
    inode = os.stat(first.path).st_ino
    assert resampled(tmp_path / "a.flac", tmp_path, sample_rate) == first
    assert os.stat(first.path).st_ino == inode


def test_of_a_replaced_file_the_copy_is_made_anew(tmp_path):
    path = tmp_path / "a.wav"
    soundfile.write(path, np.full(4410, 0.5), 44100)
    resampled(path, tmp_path)
    soundfile.write(path, np.full(4410, 0.25), 44100)
    os.utime(path, (10**9, 10**9))  # older than the copy, as an unpacked file may be
    samples, _ = soundfile.read(resampled(path, tmp_path).path)
    np.testing.assert_allclose(samples[100:-100], 0.25, atol=1e-3)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda copy: copy.unlink(),
        lambda copy: copy.write_bytes(copy.read_bytes()[:1000]),
        lambda copy: soundfile.write(copy, np.zeros(100), 16000),
    ],
    ids=["lost", "cut", "shorter"],
)
def test_a_copy_that_is_not_whole_is_made_anew(tmp_path, spoil):
    path, copy = tmp_path / "a.wav", tmp_path / "copies" / "a.wav"
    soundfile.write(path, np.full(4410, 0.5), 44100)
    resampled(path, tmp_path)
    whole, modified = copy.read_bytes(), copy.stat().st_mtime_ns
    spoil(copy)
    if copy.exists():
        os.utime(copy, ns=(modified, modified))
    resampled(path, tmp_path)
    assert copy.read_bytes() == whole


def nan(path):
    samples = np.zeros(22050)
    samples[9] = np.nan
    soundfile.write(path, samples, 44100, subtype="FLOAT")


def cut_wav(path):
    soundfile.write(path, np.zeros(22050), 44100)
    path.write_bytes(path.read_bytes()[:20_000])


def cut_flac(path):
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, 22050)
    soundfile.write(path, noise, 44100, format="FLAC")
    path.write_bytes(path.read_bytes()[:20_000])


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (nan, "not finite"),
        (cut_wav, "cut off"),
        (cut_flac, "cannot be decoded"),
        (lambda path: path.touch(), "empty"),
        (lambda path: path.write_text("<html>Sign in</html>" * 100), "not readable"),
        (lambda path: soundfile.write(path, np.zeros(0), 44100), "no samples"),
    ],
)
def test_bad_files_are_refused_with_the_reason_and_leave_nothing(tmp_path, make, reason):
    make(tmp_path / "a.wav")
    with pytest.raises(ValueError, match=f"a.wav .*{reason}"):
        resampled(tmp_path / "a.wav", tmp_path)
    assert not list(tmp_path.glob("copies/*"))
