"""Fabricated data sets in all layouts, and runs in this process: to see that every row runs."""

import importlib.util
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from speechbrain.utils import logger as speechbrain_logger

from ssast_recipes.data.synthetic import (
    make_audioset,
    make_esc50,
    make_iemocap,
    make_librispeech,
    make_speechcommands,
    make_voxceleb,
)
from ssast_recipes.runs.jobs import Job, Preparation
from ssast_recipes.runs.recipes import recipe_folder

_AUDIOSET = {"balanced_train": 8, "unbalanced_train": 10, "eval": 6}
_SPEAKERS = {"train-clean-100": 1, "train-clean-360": 1, "train-other-500": 1, "dev-clean": 1}


def _speechcommands(folder: Path) -> None:
    for version in ("v1", "v2"):
        make_speechcommands(folder, version, duration=0.4)


# By the folder that a table looks for.
MAKERS: dict[str, Callable[[Path], object]] = {
    "AudioSet": lambda folder: make_audioset(folder, _AUDIOSET, duration=0.7),
    "ESC-50": lambda folder: make_esc50(folder, duration=0.7, sample_rate=16000),
    "ESC-10": lambda folder: make_esc50(folder, duration=0.7, sample_rate=16000),
    "IEMOCAP": lambda folder: make_iemocap(folder, durations=(0.4, 0.8)),
    "LibriSpeech": lambda folder: make_librispeech(folder, _SPEAKERS, durations=(0.5, 1.5)),
    "SpeechCommands": _speechcommands,
    "VoxCeleb1": lambda folder: make_voxceleb(folder, durations=(0.5, 1.0)),
}


def make_corpora(folder: Path) -> None:
    """Fabricates a small corpus in every data set's layout, unless it is there."""
    for name, make in MAKERS.items():
        if not (folder / name).is_dir():
            make(folder / name)


def run_in_process(jobs: Sequence[Job]) -> None:
    """Runs jobs one after the other in this process, which spares each the start of Python.

    Arguments
    ---------
    jobs : sequence of Job
        In an order in which each finds what it needs.
    """
    described = speechbrain_logger.get_environment_description
    hook = sys.excepthook
    speechbrain_logger.get_environment_description = lambda: ""  # which asks pip, for a second
    try:
        for job in jobs:
            if not job.finished:
                print(f"{job.name} …", flush=True)
                _run(job)
    finally:
        speechbrain_logger.get_environment_description = described
        sys.excepthook = hook


def _run(job: Job) -> None:
    train = recipe_folder(job.train.parent.name) / "train.py"
    before = set(sys.modules)
    sys.path.insert(0, str(train.parent))
    try:
        name = f"{train.parent.name}_train"
        spec = importlib.util.spec_from_file_location(name, train)
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module  # where SpeechBrain looks for the file to copy
        spec.loader.exec_module(module)
        module.main([*job.background_command[2:], *_quietly(job)])
    except SystemExit as error:
        if error.code or not isinstance(job, Preparation):
            raise
    finally:
        sys.path.remove(str(train.parent))
        for name in set(sys.modules) - before:  # recipes have modules of the same names
            file = getattr(sys.modules[name], "__file__", None) or ""
            if Path(file).parent == train.parent:
                del sys.modules[name]


def _quietly(job: Job) -> list[str]:
    return ["--noprogressbar"] if isinstance(job, Preparation) else []
