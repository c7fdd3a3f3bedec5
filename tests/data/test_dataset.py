"""Which clips come, from files and shards; test_pipelines.py has how they are read."""

import resource
from collections import Counter

import numpy as np
import pytest
import soundfile
import torch
from torch.utils.data import DataLoader

from ssast_recipes.data.batches import collate
from ssast_recipes.data.manifest import Clip, write_manifest
from ssast_recipes.data.mixup import Mixup
from ssast_recipes.data.pipelines import WaveformReader, make_dataset
from ssast_recipes.data.preparation.packing import Packing, pack
from ssast_recipes.data.sampling import ClipKey, TrainingBatches
from ssast_recipes.data.shards import UnreadableAudioError

NUM_CLIPS = 23
KEYS = ("id", "index", "place", "waveform")


@pytest.fixture(scope="module")
def manifests(tmp_path_factory):
    folder = tmp_path_factory.mktemp("clips")
    clips = []
    for number in range(NUM_CLIPS):
        path = folder / f"{number}.wav"
        soundfile.write(path, np.full(160, number / 100), 16000)
        clips.append(Clip(f"clip{number}", str(path), 0.0, 0.01, 16000, ("a", "b")[: number % 3]))
    write_manifest(folder / "train.csv", clips)
    shards = pack(folder / "train.csv", folder / "shards", Packing("wav", shard_bytes=5 * 320))
    assert len(list((folder / "shards").glob("*.tar"))) == 5
    return {"files": folder / "train.csv", "shards": shards}


def ids_by_epoch(manifest, world_size, num_workers, epochs=3):
    """The IDs that so many processes load, by epoch."""
    found = {epoch: [] for epoch in range(1, epochs + 2)}
    batch_size = 4 // world_size
    for rank in range(world_size):
        dataset = make_dataset([manifest], WaveformReader(), output_keys=KEYS)
        batches = TrainingBatches(
            len(dataset),
            batch_size,
            seed=3,
            rank=rank,
            world_size=world_size,
            continuous=True,
            shards=dataset.shards,
            spread=3,
        )
        loader = iter(_loader(dataset, batches, num_workers))
        for step in range(-(-epochs * NUM_CLIPS // 4)):
            batch = next(loader)
            for clip_id, place in zip(batch.ids, batch.places.tolist(), strict=True):
                found[1 + (step * 4 + place) // NUM_CLIPS].append(clip_id)
    return {epoch: ids for epoch, ids in found.items() if epoch <= epochs}


def _loader(dataset, batches, num_workers):
    return DataLoader(dataset, batch_sampler=batches, collate_fn=collate, num_workers=num_workers)


@pytest.mark.parametrize("kind", ["files", "shards"])
@pytest.mark.parametrize("world_size", [1, 2])
@pytest.mark.parametrize("num_workers", [0, 1, 3])
def test_every_clip_comes_once_an_epoch(manifests, kind, world_size, num_workers):
    expected = Counter(f"clip{number}" for number in range(NUM_CLIPS))
    by_epoch = ids_by_epoch(manifests[kind], world_size, num_workers)
    for epoch, ids in by_epoch.items():
        assert Counter(ids) == expected, epoch
    assert len(set(map(tuple, by_epoch.values()))) == 3


def spoilt(manifest, tmp_path, *numbers):
    """A copy of a manifest of files, in which some are no audio."""
    lines = manifest.read_text().splitlines()
    for number in numbers:
        path = tmp_path / f"{number}.wav"
        path.write_bytes(b"no audio")
        lines[1 + number] = f"clip{number},{path},0.0,0.01,16000,"
    (tmp_path / "train.csv").write_text("\n".join(lines) + "\n")
    return tmp_path / "train.csv"


def test_another_clip_stands_in_for_an_unreadable_one(manifests, tmp_path):
    bad = {3, 4, 5, 11}
    manifest = spoilt(manifests["files"], tmp_path, *bad)

    def load(num_workers):
        dataset = make_dataset([manifest], WaveformReader(), output_keys=KEYS)
        dataset.substitutes = True
        keys = [ClipKey(epoch, index, index) for epoch in (1, 2) for index in range(NUM_CLIPS)]
        return list(_loader(dataset, [[key] for key in keys], num_workers))

    batches = load(0)
    standing_in = {}
    for batch, again in zip(batches, load(2), strict=True):
        assert (batch.ids, batch.rejected) == (again.ids, again.rejected)
        assert torch.equal(batch.waveforms, again.waveforms)
        (clip_id,), (place,) = batch.ids, batch.places.tolist()
        number = int(clip_id.removeprefix("clip"))
        assert batch.indices.tolist() == [number] and number not in bad
        assert batch.to("cpu").waveforms[0, 0] == pytest.approx(number / 100, abs=1e-4)
        if place in bad:
            assert batch.rejected[0][0] == f"clip{place}"
            assert "not readable as audio" in batch.rejected[0][1]
            standing_in.setdefault(place, []).append(number)
        else:
            assert (number, list(batch.rejected)) == (place, [])
    assert set(standing_in) == bad
    assert any(first != second for first, second in standing_in.values())  # drawn anew each epoch


def test_another_seed_lets_others_stand_in(manifests, tmp_path):
    manifest = spoilt(manifests["files"], tmp_path, 3)

    def standing_in(seed):
        dataset = make_dataset([manifest], WaveformReader(), output_keys=KEYS, seed=seed)
        dataset.substitutes = True
        return [dataset[ClipKey(epoch, 3, 3)]["index"] for epoch in range(1, 9)]

    assert standing_in(1) == standing_in(1) != standing_in(2)


def test_by_default_an_unreadable_clip_is_an_error(manifests, tmp_path):
    dataset = make_dataset(
        [spoilt(manifests["files"], tmp_path, 7)], WaveformReader(), output_keys=KEYS
    )
    with pytest.raises(UnreadableAudioError, match="7.wav: not readable as audio"):
        dataset[7]


def test_when_nothing_can_be_read_it_is_told(manifests, tmp_path):
    manifest = spoilt(manifests["files"], tmp_path, *range(NUM_CLIPS))
    dataset = make_dataset([manifest], WaveformReader(), output_keys=KEYS)
    dataset.substitutes = True
    with pytest.raises(ValueError, match="21 clips drawn one after the other cannot be read"):
        dataset[0]


def test_mixup_tells_of_unreadable_partners(manifests, tmp_path):
    def encode(labels):
        return torch.tensor([float(label in labels) for label in "ab"])

    manifest = spoilt(manifests["files"], tmp_path, *range(12, NUM_CLIPS))
    dataset = make_dataset([manifest], WaveformReader(), encode, mixup=Mixup(rate=1.0))
    dataset.substitutes = True
    rejected = [dataset[ClipKey(epoch, 1, 0)].get("rejected", []) for epoch in range(1, 9)]
    assert any(rejected)
    assert all(clip_id != "clip1" for pairs in rejected for clip_id, _ in pairs)
    assert dataset[ClipKey(1, 1, 0)]["waveform"].dtype == torch.float32


@pytest.mark.parametrize("rate", [44_101, 8_013])
def test_an_odd_sample_rate_costs_nothing_and_an_impossible_one_that_file(tmp_path, rate):
    """Its kernel would take gigabytes."""
    clips = []
    for number in range(20):
        path = tmp_path / f"{number}.wav"
        soundfile.write(path, np.full(2000, 0.1), {7: rate, 9: 1}.get(number, 44_100))
        clips.append(Clip(str(number), str(path), 0.0, 2000 / 44_101, 44_100))
    write_manifest(tmp_path / "train.csv", clips)
    dataset = make_dataset([tmp_path / "train.csv"], WaveformReader(), output_keys=KEYS)
    dataset.substitutes = True
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    rejected = [dataset[index].get("rejected", []) for index in range(20)]
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 2**17  # kB
    assert [len(one) for one in rejected] == [0] * 9 + [1] + [0] * 10
    assert "9.wav: 1 Hz is no sample rate of audio" in rejected[9][0][1]
