"""Runs recipes as users do, by their command lines, but within the tests' own process."""

import importlib.util
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import speechbrain as sb
import torch
from torch import Tensor

from ssast_recipes.brains import ClassificationBrain, PretrainingBrain, RecognitionBrain
from ssast_recipes.brains.brain import BaseBrain
from ssast_recipes.data.batches import ClipBatch
from ssast_recipes.data.synthetic import make_esc50
from tests.conftest import REPOSITORY

RECIPES = REPOSITORY / "recipes"


class SeenBatch(NamedTuple):
    """What a Brain computed of a batch."""

    stage: sb.Stage
    batch: ClipBatch
    outputs: Any
    loss: Tensor


class Run(NamedTuple):
    """A finished run of a recipe."""

    brain: BaseBrain
    initial: dict[str, Tensor]  # the encoder's weights when training began
    seen: list[SeenBatch]

    @property
    def folder(self) -> Path:
        return Path(self.brain.hparams.output_folder)

    @property
    def results(self) -> dict[str, Any]:
        return json.loads((self.folder / "results.json").read_text())

    @property
    def saved(self) -> dict[str, Any]:
        """The model's weights in the newest checkpoint."""
        checkpoint = max(self.folder.glob("save/CKPT*"))
        return torch.load(checkpoint / "model.ckpt", map_location="cpu", weights_only=True)

    def log(self, stage: str) -> list[dict[str, Any]]:
        return [record for record in self.brain.log.read() if record["stage"] == stage]

    def batches(self, stage: sb.Stage) -> list[SeenBatch]:
        return [seen for seen in self.seen if seen.stage == stage]


@pytest.fixture(scope="session")
def run_recipe(device: torch.device) -> Callable[..., Run]:
    """`run_recipe("ESC50", yaml_file, "--seed", 1, …)` calls its train.py's `main`.

    Nothing of it stays behind in this process: neither the import path nor modules from the
    recipe's or the YAML file's folder, neither logging nor hooks.
    """

    def run(recipe: str, hparams_file: Path, *arguments: Any) -> Run:
        brains, seen, initial = [], [], {}

        def watched_fit(fit: Callable) -> Callable:
            def watch(brain: BaseBrain, *args: Any, **kwargs: Any) -> None:
                brains.append(brain)
                weights = brain.hparams.encoder.named_parameters()
                initial.update({name: value.detach().clone() for name, value in weights})
                fit(brain, *args, **kwargs)

            return watch

        def watched_objectives(compute_objectives: Callable) -> Callable:
            def watch(brain: BaseBrain, outputs: Any, batch: ClipBatch, stage: sb.Stage) -> Tensor:
                loss = compute_objectives(brain, outputs, batch, stage)
                seen.append(SeenBatch(stage, batch, outputs, loss.detach()))
                return loss

            return watch

        modules_before = set(sys.modules)
        folders = [RECIPES / recipe, hparams_file.resolve().parent]
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sys, "excepthook", sys.excepthook)
            # The first replaces all handlers, pytest's included; the second calls pip.
            patch.setattr(sb.utils.logger, "setup_logging", lambda *args: None)
            patch.setattr(sb.utils.logger, "get_environment_description", lambda: "")
            for kind in (PretrainingBrain, ClassificationBrain, RecognitionBrain):
                patch.setattr(kind, "fit", watched_fit(kind.fit))
                objectives = watched_objectives(kind.compute_objectives)
                patch.setattr(kind, "compute_objectives", objectives)
            patch.syspath_prepend(folders[0])
            try:
                train = _import(f"{recipe}_train", folders[0] / "train.py")
                options = ["--device", device, "--noprogressbar"]
                train.main([str(word) for word in (hparams_file, *arguments, *options)])
            finally:
                for name in set(sys.modules) - modules_before:
                    file = getattr(sys.modules[name], "__file__", None)
                    if file is not None and Path(file).parent in folders:
                        del sys.modules[name]
        return Run(brains[0], initial, seen)

    return run


def _import(name: str, path: Path) -> Any:
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # where SpeechBrain looks for the file to copy
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def esc50_options(tmp_path_factory: pytest.TempPathFactory) -> list[Any]:
    """Command-line options: a fabricated ESC-50 of 20 clips of 0.7 s, prepared by the first run."""
    folder = tmp_path_factory.mktemp("esc50")
    corpus = make_esc50(folder / "corpus", duration=0.7, sample_rate=16000)
    return ["--data_folder", corpus, "--manifest_folder", folder / "manifests"]
