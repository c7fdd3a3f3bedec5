"""Loaders: their workers, and when these begin to read."""

import os

import numpy as np
import pytest
import soundfile
import torch

from ssast_recipes.brains.loading import begin, fork_workers, make_loader
from ssast_recipes.data.labels import MultiHotEncoder
from ssast_recipes.data.manifest import Clip, write_manifest
from ssast_recipes.data.mixup import Mixup
from ssast_recipes.data.pipelines import WaveformReader, make_dataset
from ssast_recipes.data.sampling import EvaluationBatches, TrainingBatches

from .tiny import Clips, classification_brain


class Counting(Clips):
    """Clips whose readings leave a file each, named after the process."""

    def __init__(self, num_clips, folder):
        super().__init__(num_clips)
        self.folder = folder

    def __getitem__(self, key):
        (self.folder / f"{key.index}_{os.getpid()}").touch()
        return super().__getitem__(key)


def test_forked_workers_read_nothing_before_the_first_pass(tmp_path):
    loader = make_loader(Counting(9, tmp_path), EvaluationBatches(9, 2), num_workers=2)
    fork_workers(loader)
    workers = {worker.pid for worker in loader._iterator._workers}
    for _ in range(2):
        assert not list(tmp_path.iterdir())
        indices = [batch.indices.tolist() for batch in begin(loader)]
        assert indices == [[0, 1], [2, 3], [4, 5], [6, 7], [8]] and len(loader) == 5
        read = [path.name.split("_") for path in tmp_path.iterdir()]
        assert sorted(int(index) for index, _ in read) == list(range(9))  # once each
        assert {int(pid) for _, pid in read} == workers
        for path in tmp_path.iterdir():
            path.unlink()


def test_a_loader_of_ones_own_is_forked_too(tmp_path):
    options = {"batch_size": None, "num_workers": 1, "persistent_workers": True}
    loader = torch.utils.data.DataLoader(range(3), **options)
    fork_workers(loader)
    assert loader._iterator is not None and list(begin(loader)) == [0, 1, 2]


def test_validation_reads_its_clips_when_it_is_time(tmp_path):
    """Read before, batches would lie in shared memory for the whole of an epoch."""
    (tmp_path / "read").mkdir()
    brain, seen = classification_brain(tmp_path, num_epochs=1), []
    end = brain.on_fit_batch_end

    def watched(*arguments):
        seen.append(len(list((tmp_path / "read").iterdir())))
        end(*arguments)

    brain.on_fit_batch_end = watched
    valid = {"batch_size": 2, "num_workers": 2}
    counter = brain.hparams.epoch_counter
    brain.fit(counter, Clips(8), Counting(6, tmp_path / "read"), None, {"batch_size": 4}, valid)
    assert seen == [0, 0]
    assert len(list((tmp_path / "read").iterdir())) == 6


@pytest.mark.slow
def test_spawned_workers_load_what_forked_ones_do(tmp_path):
    """Nothing of a data set or a batch is lost on the way to a process that begins anew."""
    clips = []
    for number in range(10):
        path = tmp_path / f"{number}.wav"
        soundfile.write(path, np.full(160 + number, number / 100), 16000)
        label = ("dog", "sea")[number % 2]
        clips.append(Clip(f"c{number}", str(path), 0.0, 0.01, 16000, (label,)))
    write_manifest(tmp_path / "train.csv", clips)
    encoder = MultiHotEncoder(["dog", "sea"])
    found = []
    for method in ("fork", "spawn"):
        manifests = [tmp_path / "train.csv"]
        dataset = make_dataset(manifests, WaveformReader(), encoder, mixup=Mixup(0.5))
        batches = TrainingBatches(len(dataset), 4, seed=1)
        options = {"num_workers": 2, "multiprocessing_context": method}
        loader = make_loader(dataset, batches, 200, **options)
        fork_workers(loader)
        found.append([batch for _ in range(2) for batch in begin(loader)])
    for one, other in zip(*found, strict=True):
        assert one.ids == other.ids and torch.equal(one.waveforms, other.waveforms)
        assert torch.equal(one.targets, other.targets)
    assert len({batch.waveforms.sum().item() for batch in found[0]}) > 1
