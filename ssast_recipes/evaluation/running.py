"""Every encoder on every task: embedded once, probed, recorded; what is there already is kept."""

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from tqdm import tqdm

from ssast_recipes.evaluation.cache import Embeddings, embed_clips, iterate_present
from ssast_recipes.evaluation.encoders import CLIP, FOLD, LAYERS, STEPS, FrozenEncoder, load_encoder
from ssast_recipes.evaluation.few_shot import DRAWS, draw_shots, possible_shots
from ssast_recipes.evaluation.probes import LEAST_VALID, METRICS, OF_STEPS, PROBES, Labelled
from ssast_recipes.evaluation.records import (
    CHANCE,
    Record,
    Row,
    identity_of,
    read_record,
    record_path,
    write_record,
)
from ssast_recipes.evaluation.tasks import Fold, Task
from ssast_recipes.objectives.baselines import chance_scores
from ssast_recipes.system.errors import RunError, explain
from ssast_recipes.system.words import shown

VERSION = 1  # to be raised when probes give other numbers
MOST_SAMPLES = 400  # clips of a map
_OF_SHOTS = ("knn", "linear")  # probes that are done in a moment


@dataclass(frozen=True)
class Options:
    """What is tried, and how it is computed.

    Arguments
    ---------
    probes : tuple of str
        Names of `PROBES`.
    shots : tuple of int
        Clips a class, for few-shot curves.
    layers : bool
        Whether to probe every layer alone, by ridge regression.
    device : str, optional
        Where encoders compute; by default a GPU if there is one.
    batch_size : int
        Windows or clips at a time.
    workers : int
        Threads that read files ahead.
    """

    probes: tuple[str, ...] = ("knn", "linear")
    shots: tuple[int, ...] = ()
    layers: bool = False
    device: str | None = None
    batch_size: int = 8
    workers: int = 2


class Evaluation:
    """An evaluation: what was measured, and what could not be.

    Arguments
    ---------
    output : Path
        Where records are kept.
    cache : Path
        Where embeddings are kept.
    options : Options
        What is tried.
    """

    def __init__(self, output: Path, cache: Path, options: Options):
        self.output, self.cache, self.options = output, cache, options
        self.records: list[Record] = []
        self.failures: list[str] = []
        # Of each task and encoder, some test clips' embeddings [clips, width], and their places.
        self.samples: dict[tuple[str, str], tuple[Tensor, list[int]]] = {}
        self._loaded: tuple[str, FrozenEncoder] | None = None

    def run(self, encoders: Sequence[str], tasks: Sequence[Task]) -> None:
        """Evaluates every encoder on every task, and chance first.

        An encoder that fails on a task is told, and left out there.

        Arguments
        ---------
        encoders : sequence of str
            As of `load_encoder`; `{fold}` in a name stands for the number of each fold.
        tasks : sequence of Task
            What they are evaluated on.
        """
        for task in tasks:
            self._keep(_measure_chance(task))
        total = len(encoders) * len(tasks)
        pairs = ((encoder, task) for encoder in encoders for task in tasks)
        for number, (name, task) in enumerate(pairs, start=1):
            place = f"[{number}/{total}] {shown(name)} on {task.name}"
            try:
                self._keep(self._evaluate(name, task, place))
            except (ValueError, OSError, RunError) as error:
                line = f"{shown(name)} on {task.name}: {explain(error)}"
                self.failures.append(line)
                print(f"ssast: {line}; going on", file=sys.stderr, flush=True)

    def _keep(self, record: Record) -> None:
        write_record(self.output, record)
        self.records.append(record)

    def _evaluate(self, name: str, task: Task, place: str) -> Record:
        # With {fold}, every fold has an encoder of its own, which never heard its test clips.
        own_folds = task.folds if FOLD in name else task.folds[:1]
        detail = LAYERS if self.options.layers else CLIP
        found: dict[str, Embeddings] = {}
        for fold in own_folds:
            found[fold.name] = self._embed(_fill_in(name, fold), task, detail, place, fold)
        identity = ""
        for one in found.values():
            itself = one.values[:, -1]
            identity = identity_of(itself, one.present, identity + task.digest, VERSION)

        def embeddings(fold: Fold, finely: bool = False) -> Embeddings:
            own = fold if FOLD in name else task.folds[0]
            if finely:  # as far as a probe wants them: they are large
                return self._embed(_fill_in(name, own), task, STEPS, place, own)
            return found[own.name]

        record = Record(task.name, name, identity, self._is_baseline(name))
        path = record_path(self.output, task.name, name)
        try:
            before = read_record(path)
        except FileNotFoundError:
            before = None
        except ValueError as error:
            before = None
            _tell(str(error))
        if before is not None and before.identity == identity:
            record = before
        record.left_out = max(len(one.reasons) for one in found.values())
        if record.left_out:
            first = next(one.reasons[0] for one in found.values() if one.reasons)
            _tell(f"{place}: {record.left_out} clip(s) cannot be read and are left out: {first}")
        self._probe(record, task, embeddings)
        first = task.folds[0]
        shown_ones = embeddings(first)
        tested = list(iterate_present(shown_ones.present, first.test))
        some = tested[:: -(-len(tested) // MOST_SAMPLES) or 1]
        self.samples[task.name, name] = shown_ones.values[some, -1].clone(), some
        return record

    def _embed(self, name: str, task: Task, detail: str, place: str, fold: Fold) -> Embeddings:
        encoder = self._load(name).for_task(task)
        place += f", {fold.name}" if name not in place else ""  # an encoder of that fold alone
        finely = ", moment by moment" if detail == STEPS else ""
        print(f"{place}: {len(task.clips):,} clips{finely}", file=sys.stderr, flush=True)
        with tqdm(total=len(task.clips), desc=place, unit="clip", disable=None) as bar:
            return embed_clips(
                *(encoder, task.clips, self.cache, detail, self.options.workers),
                advance=bar.update,
                tell=_tell,
            )

    def _load(self, name: str) -> FrozenEncoder:
        if self._loaded is None or self._loaded[0] != name:
            self._loaded = None  # one at a time is in memory
            self._loaded = name, load_encoder(name, self.options.device, self.options.batch_size)
        return self._loaded[1]

    def _is_baseline(self, name: str) -> bool:
        return FOLD not in name and self._load(name).is_baseline

    def _probe(self, record: Record, task: Task, embeddings: Callable[..., Embeddings]) -> None:
        """Adds to a record the rows that it lacks."""
        options, num_layers = self.options, embeddings(task.folds[0]).values.shape[1]
        for fold in task.folds:
            for probe in options.probes:
                if not record.has(probe=probe, fold=fold.name):
                    vectors = embeddings(fold, probe in OF_STEPS)
                    found = _try(task, fold, vectors, probe, record)
                    record.scores[probe, fold.name], record.places[fold.name] = found
            layers = range(num_layers - 1) if options.layers else ()
            for layer in layers:
                if not record.has(probe="linear", fold=fold.name, layer=layer + 1):
                    _try(task, fold, embeddings(fold), "linear", record, layer=layer)
            for shots in possible_shots(task, options.shots):
                for probe in (one for one in options.probes if one in _OF_SHOTS):
                    for draw in range(DRAWS):
                        at = {"probe": probe, "fold": fold.name, "shots": shots, "draw": draw}
                        if not record.has(**at):
                            _try(task, fold, embeddings(fold), probe, record, shots, draw)


def _try(
    task: Task,
    fold: Fold,
    found: Embeddings,
    probe: str,
    record: Record,
    shots: int | None = None,
    draw: int | None = None,
    layer: int | None = None,
) -> tuple:
    """Fits a probe on a fold, adds rows to the record, and returns scores and tested places."""
    vectors = found.values  # [clips, layers, width], or [clips, layers, moments, width]
    if probe not in OF_STEPS:
        vectors = vectors[:, -1 if layer is None else layer]
    chosen = fold.train if shots is None else draw_shots(task, fold, shots, draw)
    train, test = (list(iterate_present(found.present, part)) for part in (chosen, fold.test))
    if not train or not test:
        raise ValueError("no clip to train on, or none to test on, can be read")
    valid: Labelled | None = None
    # With few labels there are none to spare for choosing a penalty, either.
    if fold.has_valid and shots is None:
        places = list(iterate_present(found.present, fold.valid))
        valid = Labelled(vectors[places], task.targets[places])
    known = Labelled(vectors[train], task.targets[train])
    scores = PROBES[probe](known, vectors[test], valid).float()
    choosing = 0 if valid is None or len(valid.targets) < LEAST_VALID else len(valid.targets)
    _add_rows(
        *(record, task, fold, probe, scores, test),
        Row(
            *(task.name, record.encoder, probe, fold.name, "", 0.0),
            *(len(train), choosing, len(test), vectors.shape[-1]),
            shots,
            draw,
            None if layer is None else layer + 1,
        ),
    )
    return scores.numpy(), torch.tensor(test).numpy()


def _add_rows(
    record: Record,
    task: Task,
    fold: Fold,
    probe: str,
    scores: Tensor,
    test: list[int],
    row: Row,
) -> None:
    for metric in task.metrics:
        value = float(METRICS[metric](scores, task.targets[test]))
        record.rows.append(row._replace(metric=metric, value=value))


def _measure_chance(task: Task) -> Record:
    record = Record(task.name, CHANCE, task.digest, is_baseline=True)
    for fold in task.folds:
        scores = chance_scores(task.targets[fold.train], len(fold.test)).float()
        counts = len(fold.train), 0, len(fold.test), 0
        row = Row(task.name, CHANCE, CHANCE, fold.name, "", 0.0, *counts)
        _add_rows(record, task, fold, CHANCE, scores, fold.test, row)
    return record


def _fill_in(name: str, fold: Fold) -> str:
    number = fold.name.removeprefix("fold ")
    if FOLD in name and number == fold.name:
        raise ValueError(f"{name} is an encoder for each fold, and this task has none")
    return name.replace(FOLD, number)


def _tell(line: str) -> None:
    tqdm.write(f"ssast: {shown(line)}", file=sys.stderr)
