import math

import numpy as np
import pytest
import soundfile
import torch
import torchaudio
from torch.utils.data import DataLoader

from ssast_recipes.data.batches import ClipBatch, as_float, collate
from ssast_recipes.data.labels import ClassEncoder, MultiHotEncoder
from ssast_recipes.data.manifest import Clip, write_manifest
from ssast_recipes.data.mixup import Mixup, mix_waveforms
from ssast_recipes.data.pipelines import ClipDataset, WaveformReader, make_dataset
from ssast_recipes.data.sampling import ClipKey
from ssast_recipes.data.shards import UnreadableAudioError

RATE = 16000


def write(path, samples, rate=RATE, subtype="FLOAT"):
    soundfile.write(path, np.asarray(samples, dtype=np.float32), rate, subtype=subtype)
    return path


def counting(seconds, rate=RATE):
    """Samples whose value tells their place."""
    return np.arange(round(seconds * rate)) / 2**20


def places(waveform):
    return (waveform.double() * 2**20).round().long()


# ---- reading


def test_a_clip_is_the_stretch_that_the_manifest_says(tmp_path):
    path = write(tmp_path / "a.wav", counting(2.0))
    waveform = WaveformReader()(path, start=0.5, duration=0.25, epoch=1, clip_id="a")
    assert waveform.dtype == torch.float32
    assert torch.equal(places(waveform), torch.arange(8000, 12000))


def test_channels_are_averaged(tmp_path):
    samples = np.stack([np.full(800, 0.5), np.full(800, -0.25), np.full(800, 0.125)], axis=1)
    path = write(tmp_path / "a.wav", samples)
    waveform = WaveformReader()(path, 0.0, 0.05, 1, "a")
    assert torch.equal(waveform, torch.full((800,), 0.125))


@pytest.mark.parametrize("rate", [8000, 22050, 44100])
def test_other_rates_are_resampled(tmp_path, rate):
    frequency = 440.0
    original = np.sin(2 * np.pi * frequency * np.arange(rate) / rate)
    path = write(tmp_path / "a.wav", original, rate)
    waveform = WaveformReader(sample_rate=RATE)(path, 0.0, 1.0, 1, "a")
    expected = torch.sin(2 * torch.pi * frequency * torch.arange(RATE) / RATE)
    assert len(waveform) == RATE
    assert (waveform - expected)[200:-200].abs().max() < 5e-3
    samples, _ = soundfile.read(path, dtype="float32")
    torchaudios = torchaudio.functional.resample(torch.from_numpy(samples), rate, RATE)
    torch.testing.assert_close(waveform, torchaudios, rtol=0, atol=1e-4)


@pytest.mark.parametrize("extension", ["wav", "flac", "ogg"])
def test_reads_what_soundfile_reads(tmp_path, extension):
    path = tmp_path / f"a.{extension}"
    soundfile.write(path, 0.5 * np.sin(np.arange(4000) / 5), 8000)
    waveform = WaveformReader(sample_rate=8000)(path, 0.1, 0.2, 1, "a")
    samples, _ = soundfile.read(path, start=800, frames=1600, dtype="float32")
    assert torch.equal(as_float(waveform), torch.from_numpy(samples))
    assert (waveform.dtype == torch.int16) == (extension != "ogg")


def test_of_long_clips_the_start_is_read(tmp_path):
    path = write(tmp_path / "a.wav", counting(3.0))
    waveform = WaveformReader(max_duration=0.5)(path, 1.0, 2.0, 1, "a")
    assert torch.equal(places(waveform), torch.arange(16000, 24000))
    short = WaveformReader(max_duration=5.0)(path, 1.0, 2.0, 1, "a")
    assert torch.equal(places(short), torch.arange(16000, 48000))


def test_a_stretch_is_sought_at_the_files_own_rate(tmp_path):
    path = write(tmp_path / "a.wav", counting(2.0, rate=8000), rate=8000)
    waveform = WaveformReader(sample_rate=RATE)(path, 0.5, 0.25, 1, "a")
    samples = torch.arange(4000, 6000) / 2**20
    expected = torchaudio.functional.resample(samples, 8000, RATE)
    torch.testing.assert_close(waveform, expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("crop", ["start", "random"])
def test_only_the_seconds_needed_are_read(tmp_path, monkeypatch, crop):
    path = write(tmp_path / "a.wav", counting(5.0))
    asked, read = [], soundfile.SoundFile.read
    monkeypatch.setattr(
        soundfile.SoundFile,
        "read",
        lambda self, frames=-1, **options: asked.append(frames) or read(self, frames, **options),
    )
    WaveformReader(max_duration=0.5, crop=crop)(path, 0.0, 5.0, 1, "a")
    assert asked == [8000]


# ---- random crops


def crop(path, seed=1, epoch=1, clip_id="a", duration=3.0, max_duration=0.5, start=0.0):
    reader = WaveformReader(max_duration=max_duration, crop="random", seed=seed)
    return places(reader(path, start, duration, epoch, clip_id))


def test_a_crop_is_a_function_of_seed_epoch_and_clip(tmp_path):
    path = write(tmp_path / "a.wav", counting(3.0))
    first = crop(path)
    torch.manual_seed(5)
    np.random.seed(5)
    assert torch.equal(crop(path), first)
    others = [crop(path, seed=2), crop(path, epoch=2), crop(path, clip_id="b"), first]
    assert len({int(other[0]) for other in others}) == 4


def test_crops_are_uniform_over_the_clip_and_stay_within_it(tmp_path):
    path = write(tmp_path / "a.wav", counting(3.0))
    options = {"start": 1.0, "duration": 1.05, "max_duration": 0.05}
    crops = [crop(path, epoch=epoch, **options) for epoch in range(1500)]
    assert {len(part) for part in crops} == {800}
    assert all(int(part[-1]) - int(part[0]) == 799 for part in crops)
    starts = torch.tensor([int(part[0]) for part in crops]).sort().values
    assert starts[0] >= 16000 and starts[-1] <= 32000
    uniform = 16000 + 16000 * (torch.arange(1500) + 0.5) / 1500
    assert (starts - uniform).abs().max() < 16000 * 2 / math.sqrt(1500)


def test_crops_differ_between_a_clips_epochs_alike_in_other_orders_and_workers(tmp_path):
    write_manifest(tmp_path / "a.csv", long_clips(tmp_path, 6))
    dataset = make_dataset(
        [tmp_path / "a.csv"],
        WaveformReader(max_duration=0.25, crop="random", seed=3),
        output_keys=("id", "index", "place", "waveform"),
    )
    keys = [
        ClipKey(epoch, index, place) for epoch in (1, 2) for place, index in enumerate(range(6))
    ]

    def read(keys, num_workers=0):
        loader = DataLoader(
            dataset,
            batch_sampler=[[key] for key in keys],
            collate_fn=collate,
            num_workers=num_workers,
        )
        return {
            key: int(places(batch.waveforms)[0, 0]) for key, batch in zip(keys, loader, strict=True)
        }

    expected = read(keys)
    assert read(keys[::-1]) == expected
    assert read(keys, num_workers=2) == expected
    assert len(set(expected.values())) == 12


def long_clips(folder, count):
    clips = []
    for number in range(count):
        path = write(folder / f"{number}.wav", counting(1.0))
        clips.append(Clip(f"clip{number}", str(path), 0.0, 1.0, RATE, (f"label{number % 2}",)))
    return clips


# ---- files that are not as they should be


def test_a_file_that_is_not_there_or_no_audio_is_named(tmp_path):
    (tmp_path / "text.wav").write_text("no audio")
    for name in ("missing.wav", "text.wav"):
        with pytest.raises(ValueError, match=f"{name}: not readable as audio.*prepare again"):
            WaveformReader()(tmp_path / name, 0.0, 1.0, 1, "a")


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_file_with_values_that_are_not_finite_is_named(tmp_path, value):
    samples = counting(0.5)
    samples[77] = value
    path = write(tmp_path / "bad.wav", samples)
    with pytest.raises(ValueError, match="bad.wav: holds samples that are not finite"):
        WaveformReader()(path, 0.0, 0.5, 1, "a")


def test_a_file_that_ends_before_the_clip_is_named(tmp_path):
    path = write(tmp_path / "short.wav", counting(0.5))
    for start in (0.5, 2.0):
        with pytest.raises(ValueError, match="short.wav: .*prepare again"):
            WaveformReader()(path, start, 0.5, 1, "a")


def zeroed(path):
    """Wipes 20 kB in the middle, as a bad disk might."""
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 20_000] = bytes(20_000)
    path.write_bytes(content)


def halved(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


@pytest.mark.parametrize(
    ("name", "harm", "message"),
    [
        ("a.ogg", zeroed, "damaged, .*: .* of 10.00 s at 0 s can be decoded; convert or replace"),
        ("a.mp3", halved, "damaged, .*: .* of 10.00 s at 0 s can be decoded; convert or replace"),
        ("a.wav", halved, "ends 5.00 s before the clip at 0 s does; prepare again"),
    ],
)
def test_audio_that_was_damaged_or_cut_is_not_taken_for_a_short_clip(tmp_path, name, harm, message):
    path = tmp_path / name
    soundfile.write(path, np.random.default_rng(0).uniform(-0.5, 0.5, 10 * RATE), RATE)
    assert len(WaveformReader()(path, 0.0, 10.0, 1, "a")) == 10 * RATE
    harm(path)
    with pytest.raises(UnreadableAudioError, match=f"{name}: {message}"):
        WaveformReader()(path, 0.0, 10.0, 1, "a")


@pytest.mark.parametrize(
    ("held", "duration", "is_read"),
    [
        (9.85, 10.0, True),  # 1.5 % are missing
        (9.75, 10.0, False),
        (0.92, 1.0, True),  # 80 ms
        (0.88, 1.0, False),
        (0.06, 0.1, True),
        (0.04, 0.1, False),  # more than half of it
    ],
)
def test_a_clip_may_be_a_little_shorter_than_its_manifest_says(tmp_path, held, duration, is_read):
    path = write(tmp_path / "a.wav", counting(1.0 + held))
    if is_read:
        waveform = WaveformReader()(path, 1.0, duration, 1, "a")
        assert len(waveform) == round(held * RATE)
    else:
        with pytest.raises(UnreadableAudioError, match="a.wav: ends .* before the clip at 1 s"):
            WaveformReader()(path, 1.0, duration, 1, "a")


def test_errors_of_loading_workers_name_the_file_too(tmp_path):
    write_manifest(tmp_path / "a.csv", long_clips(tmp_path, 1))
    (tmp_path / "0.wav").unlink()
    dataset = make_dataset([tmp_path / "a.csv"], WaveformReader(), output_keys=("id", "waveform"))
    loaded = iter(DataLoader(dataset, batch_size=1, collate_fn=list, num_workers=1))
    with pytest.raises(ValueError, match="0.wav: not readable as audio"):
        next(loaded)
    with pytest.raises(StopIteration):  # ends the worker
        next(loaded)


def test_an_unknown_crop_is_refused():
    with pytest.raises(ValueError, match="start or random, not 'middle'"):
        WaveformReader(crop="middle")


# ---- data sets


def test_a_data_set_is_all_its_manifests(tmp_path):
    clips = long_clips(tmp_path, 5)
    for name, part in (("a", clips[:2]), ("b", clips[2:])):
        write_manifest(tmp_path / f"{name}.csv", part)
    dataset = make_dataset(
        [tmp_path / "a.csv", tmp_path / "b.csv"],
        WaveformReader(),
        ClassEncoder(["label0", "label1"]),
    )
    assert len(dataset) == 5
    found = [dataset[ClipKey(1, index, 7)] for index in range(5)]
    assert [clip["id"] for clip in found] == [f"clip{number}" for number in range(5)]
    assert [clip["index"] for clip in found] == list(range(5))
    assert [clip["target"].item() for clip in found] == [0, 1, 0, 1, 0]
    assert {clip["place"] for clip in found} == {7}
    assert set(found[0]) == {"id", "index", "place", "waveform", "target"}
    assert dataset[3]["id"] == "clip3" and dataset[3]["place"] == 3


def test_labels_are_not_touched_unless_asked_for(tmp_path):
    write_manifest(tmp_path / "a.csv", long_clips(tmp_path, 1))

    def refuse(labels):
        raise AssertionError("a label was read")

    keys = ("id", "index", "place", "waveform")
    dataset = make_dataset([tmp_path / "a.csv"], WaveformReader(), refuse, keys)
    assert set(dataset[0]) == set(keys)


def test_an_id_in_two_manifests_is_refused(tmp_path):
    clips = long_clips(tmp_path, 3)
    write_manifest(tmp_path / "a.csv", clips[:2])
    write_manifest(tmp_path / "b.csv", clips[1:])
    with pytest.raises(ValueError, match="b.csv, line 2: the ID 'clip1' was there before; IDs"):
        ClipDataset([tmp_path / "a.csv", tmp_path / "b.csv"], WaveformReader())


def test_a_data_set_without_clips_is_refused(tmp_path):
    write_manifest(tmp_path / "empty.csv", [])
    with pytest.raises(ValueError, match="no clips in .*empty.csv"):
        ClipDataset([tmp_path / "empty.csv"], WaveformReader())
    with pytest.raises(ValueError, match="there are no clips in"):
        ClipDataset([], WaveformReader())


def test_few_clips_of_each_class_are_drawn_from_the_seed(tmp_path):
    write_manifest(tmp_path / "a.csv", long_clips(tmp_path, 20))

    def kept(num_clips, seed):
        keys = ("id", "index", "place", "waveform")
        dataset = make_dataset([tmp_path / "a.csv"], WaveformReader(), None, keys, num_clips, seed)
        assert len(dataset) == len(dataset.ids)
        return list(dataset.ids)

    assert kept(3, seed=1) == kept(3, seed=1) == sorted(kept(3, seed=1), key=lambda id: int(id[4:]))
    assert kept(10, seed=1) == [f"clip{number}" for number in range(20)]
    draws = [kept(3, seed) for seed in range(40)]
    assert all(sum(int(id[4:]) % 2 for id in ids) == 3 for ids in draws)
    assert set().union(*draws) == {f"clip{number}" for number in range(20)}
    for num_clips in (0, 11):
        with pytest.raises(ValueError, match=f"clips_per_class is {num_clips}, but class label0"):
            kept(num_clips, seed=1)


def test_wrong_labels_are_told_with_the_clip(tmp_path):
    write_manifest(tmp_path / "a.csv", long_clips(tmp_path, 2))
    dataset = make_dataset([tmp_path / "a.csv"], WaveformReader(), MultiHotEncoder(["label0"]))
    assert dataset[0]["target"].tolist() == [1.0]
    message = r"clip clip1 \(.*1.wav\): labels \['label1'\] are not among 1 classes; prepare again"
    with pytest.raises(ValueError, match=message):
        dataset[1]


# ---- other windows in evaluation, and of clips shown again


def test_training_and_evaluation_may_read_other_stretches(tmp_path):
    """As for SID: random crops in training, the first so many seconds in evaluation."""
    write_manifest(tmp_path / "a.csv", long_clips(tmp_path, 1))
    training, evaluation = (
        make_dataset([tmp_path / "a.csv"], reader, output_keys=("id", "waveform"))
        for reader in (
            WaveformReader(max_duration=0.25, crop="random", seed=1),
            WaveformReader(max_duration=0.5),
        )
    )
    starts = {int(places(training[ClipKey(epoch, 0, 0)]["waveform"])[0]) for epoch in range(1, 9)}
    assert len(starts) == 8
    whole = places(evaluation[0]["waveform"])
    assert torch.equal(whole, torch.arange(8000))


def test_a_clip_drawn_again_in_an_epoch_shows_another_stretch(tmp_path):
    """As KS1's few long noise files, of which an epoch shows thousands of windows."""
    write_manifest(tmp_path / "a.csv", long_clips(tmp_path, 1))
    reader = WaveformReader(max_duration=0.05, crop="random", seed=1)
    dataset = make_dataset([tmp_path / "a.csv"], reader, output_keys=("id", "waveform"))

    def starts(epoch):
        keys = [ClipKey(epoch, 0, place=3, draw=draw) for draw in range(300)]
        return [int(places(dataset[key]["waveform"])[0]) for key in keys]

    first = starts(1)
    assert starts(1) == first
    assert len(set(first)) > 290
    assert abs(np.mean(first) - 0.95 * RATE / 2) < 4 * 0.95 * RATE / math.sqrt(12 * 300)
    assert not set(first) & set(starts(2)[:20])


# ---- mixup in a data set


def mixing_dataset(folder, mixup, count=6):
    """Clips of other lengths and pitches; the target tells which."""
    clips = []
    for number in range(count):
        samples = np.cos(np.arange(2000 + 300 * number) * (number + 1) / 20) + 0.1 * number
        path = write(folder / f"{number}.wav", 0.5 * samples)
        duration = len(samples) / RATE
        clips.append(Clip(f"clip{number}", str(path), 0.0, duration, RATE, (f"label{number}",)))
    write_manifest(folder / "a.csv", clips)
    encoder = MultiHotEncoder([f"label{number}" for number in range(count)])
    return make_dataset([folder / "a.csv"], WaveformReader(), encoder, mixup=mixup)


def test_clips_are_mixed_with_others_of_the_set(tmp_path):
    plain = mixing_dataset(tmp_path, None)
    mixing = mixing_dataset(tmp_path, Mixup(rate=1.0, seed=2))
    partners = set()
    for epoch in range(1, 20):
        for index in range(6):
            clip, own = mixing[ClipKey(epoch, index, 0)], plain[index]
            partner = int(clip["target"].masked_fill(own["target"] > 0, 0).argmax())
            share = float(clip["target"][index])
            if share == 1:
                partner = index  # mixed with itself
            partners.add((index, partner))
            expected = mix_waveforms(own["waveform"], plain[partner]["waveform"], share)
            torch.testing.assert_close(clip["waveform"], expected, rtol=0, atol=1e-6)
            assert clip["target"].sum().item() == pytest.approx(1.0, abs=1e-6)
            assert (clip["id"], clip["index"]) == (own["id"], own["index"])
    assert len(partners) == 36


def test_evaluation_is_not_mixed(tmp_path):
    plain = mixing_dataset(tmp_path, None)
    mixing = mixing_dataset(tmp_path, Mixup(rate=1.0))
    for key in (2, ClipKey(epoch=0, index=2, place=2)):
        assert torch.equal(mixing[key]["waveform"], plain[2]["waveform"])
        assert torch.equal(mixing[key]["target"], plain[2]["target"])
    assert not torch.equal(mixing[ClipKey(1, 2, 2)]["waveform"], plain[2]["waveform"])


def test_mixtures_are_alike_in_other_orders_places_and_workers(tmp_path):
    dataset = mixing_dataset(tmp_path, Mixup(rate=0.5, seed=2))
    keys = [
        ClipKey(epoch, index, 0, draw) for epoch in (1, 2) for index in range(6) for draw in (0, 1)
    ]

    def mixtures(keys, num_workers=0):
        loader = DataLoader(
            dataset,
            batch_sampler=[[key] for key in keys],
            collate_fn=collate,
            num_workers=num_workers,
        )
        return {
            key._replace(place=0): (batch.targets[0].tolist(), batch.waveforms[0].tolist())
            for key, batch in zip(keys, loader, strict=True)
        }

    expected = mixtures(keys)
    torch.manual_seed(7)
    assert mixtures([key._replace(place=9) for key in keys[::-1]]) == expected
    assert mixtures(keys, num_workers=2) == expected
    targets = [target for target, _ in expected.values()]
    mixed = [target for target in targets if max(target) < 1]
    assert 4 < len(mixed) < 20
    assert len({tuple(target) for target in mixed}) == len(mixed)


# ---- batches


def clip(index, length, **more):
    return {
        "id": f"clip{index}",
        "index": index,
        "place": 10 + index,
        "waveform": torch.full((length,), 1.0 + index),
        **more,
    }


def test_a_batch_is_padded_with_zeros_and_tells_the_lengths():
    batch = collate([clip(3, 2), clip(1, 4), clip(2, 1)])
    assert batch.waveforms.tolist() == [[4, 4, 0, 0], [2, 2, 2, 2], [3, 0, 0, 0]]
    assert batch.num_samples.tolist() == [2, 4, 1]
    assert batch.indices.tolist() == [3, 1, 2]
    assert batch.places.tolist() == [13, 11, 12]
    assert batch.ids == ["clip3", "clip1", "clip2"]
    assert batch.targets is None and len(batch) == 3


def test_a_short_batch_is_padded_as_far_as_asked():
    clips = [clip(3, 2), clip(1, 3)]
    assert collate(clips, least_samples=4).waveforms.tolist() == [[4, 4, 0, 0], [2, 2, 2, 0]]
    assert collate(clips, least_samples=1).waveforms.shape == (2, 3)


def test_loading_workers_make_the_same_batches():
    clips = [{**clip(0, 3), "waveform": torch.tensor([3, -4, 5], dtype=torch.int16)}, clip(1, 5)]
    batches = [[0, 0], [0, 1], [1, 1]]  # of 16 bits, of both kinds, of 32 bits

    def load(num_workers):
        loader = DataLoader(
            clips, batch_sampler=batches, collate_fn=collate, num_workers=num_workers
        )
        return [batch.waveforms for batch in loader]

    here, there = load(0), load(2)
    assert [waveforms.dtype for waveforms in there] == [torch.int16, torch.float32, torch.float32]
    for one, other in zip(here, there, strict=True):
        torch.testing.assert_close(other, one, rtol=0, atol=0)


@pytest.mark.parametrize("target", [torch.tensor(2), torch.tensor([0.0, 1.0, 1.0])])
def test_targets_are_stacked(target):
    batch = collate([clip(0, 2, target=target), clip(1, 2, target=target)])
    assert torch.equal(batch.targets, torch.stack([target, target]))
    assert batch.targets.dtype == target.dtype


@pytest.mark.parametrize("labelled", [False, True])
def test_a_batch_moves_whole(device, labelled):
    more = {"target": torch.tensor(1)} if labelled else {}
    batch = collate([clip(0, 2, **more), clip(1, 3, **more)])
    moved = batch.to(device)
    assert isinstance(moved, ClipBatch) and moved.ids == batch.ids
    for name in ("indices", "places", "waveforms", "num_samples"):
        assert getattr(moved, name).device.type == device.type
        assert torch.equal(getattr(moved, name).cpu(), getattr(batch, name))
    assert (moved.targets is None) == (not labelled)
    meta = batch.to("meta")
    assert all(value.is_meta for value in vars(meta).values() if torch.is_tensor(value))


@pytest.mark.parametrize("crop", ["start", "random"])
def test_clips_kept_in_memory_are_read_once_and_are_the_same(tmp_path, monkeypatch, crop):
    path = tmp_path / "clip.wav"
    write(path, np.random.default_rng(0).uniform(-1, 1, 2 * RATE))
    opened = []
    real = soundfile.SoundFile.__init__
    monkeypatch.setattr(
        soundfile.SoundFile,
        "__init__",
        lambda self, *rest, **options: (opened.append(1), real(self, *rest, **options))[1],
    )
    options = {"sample_rate": RATE, "max_duration": 0.5, "crop": crop, "seed": 1}
    plain, kept = WaveformReader(**options), WaveformReader(**options, keep_in_memory=True)
    for start, duration in ((0.0, 2.0), (0.25, 0.5), (0.5, 0.4)):
        for epoch in (1, 2, 3):
            words = (path, start, duration, epoch, "clip")
            found, expected = kept(*words), plain(*words)
            # A place in the whole clip is rounded elsewhere than one in the file.
            places = [found] if crop == "start" else [found, found[1:], found[:-1]]
            others = [expected] if crop == "start" else [expected, expected[:-1], expected[1:]]
            pairs = zip(places, others, strict=True)
            assert any(torch.equal(one, other) for one, other in pairs)
    assert len(opened) == 9 + 3
