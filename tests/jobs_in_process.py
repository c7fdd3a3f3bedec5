"""Runs in this process, one after the other, which spares each the start of Python."""

import importlib.util
import sys
from collections.abc import Sequence
from pathlib import Path

from speechbrain.utils import logger as speechbrain_logger

from ssast_recipes.runs.jobs import Job, Preparation
from ssast_recipes.system.recipes import recipe_folder


def run_in_process(jobs: Sequence[Job], num_processes: int, title: str) -> None:
    """Does as `run_jobs`, in the order of the jobs: each finds what it needs."""
    described = speechbrain_logger.get_environment_description
    hook = sys.excepthook
    speechbrain_logger.get_environment_description = lambda: ""  # which asks pip, for a second
    try:
        for job in jobs:
            if not job.finished:
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
