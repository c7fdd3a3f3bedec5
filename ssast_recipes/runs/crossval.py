"""Training and testing every fold of a recipe, each in a process of its own.

What is finished stays: the same command goes on from there.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ssast_recipes.records.run import RESULTS, Run
from ssast_recipes.runs.crossval_arguments import (
    check_records,
    find_encoders,
    keep_arguments,
    keep_encoders,
    read_options,
    read_yaml,
    write_json,
)
from ssast_recipes.runs.crossval_table import summarise
from ssast_recipes.runs.jobs import Job, train_command
from ssast_recipes.system.children import start, wait
from ssast_recipes.system.errors import RunError
from ssast_recipes.system.interruption import Interrupted


@dataclass(frozen=True, eq=False)
class Fold(Job):
    """A fold to train and test.

    Arguments
    ---------
    number : int
        Of the fold.
    seed : int, optional
        By default the YAML file's.
    passed_on : sequence of str
        Words for `train.py`, in which `{fold}` and `{seed}` are filled in.
    """

    number: int = 0
    seed: int | None = None
    passed_on: Sequence[str] = ()

    @property
    def command(self) -> list[str]:
        """The command line."""
        return train_command(self.train, Path(self.hparams_file), self.words)

    @property
    def words(self) -> list[str]:
        """What follows the YAML file on the command line."""
        words = ["--test_fold", str(self.number), "--output_folder", str(self.folder)]
        words += [] if self.seed is None else ["--seed", str(self.seed)]
        return [*words, *map(self.fill_in, self.passed_on)]

    @property
    def begun(self) -> bool:
        """Whether it has results or a checkpoint."""
        return self.finished or Run(self.folder).has_begun

    def fill_in(self, text: str) -> str:
        """Puts fold and seed into a text."""
        return text.replace("{fold}", str(self.number)).replace("{seed}", str(self.seed))

    def run(self) -> None:
        """Runs it in the user's view; raises RunError if it fails."""
        process = start(self.command)
        try:
            status = wait(process)
        except Interrupted as interruption:
            line = f"{self.name} interrupted; the same command goes on there"
            raise Interrupted(interruption.number, line) from None
        log = self.folder / "log.txt"
        see = f"see {log}" if log.exists() else "there is no log.txt, see the output above"
        if status:
            how = f"exit status {status}" if status > 0 else f"signal {-status}"
            raise RunError(f"{self.name} failed ({how}): {see}")
        if not self.finished:
            raise RunError(f"{self.name} ended without results.json: {see}")

    def read_record(self) -> dict[str, Any]:
        """Reads what it has left; raises ValueError where that is none of crossval's."""
        run = Run(self.folder)
        record = run.results
        values = record["value"]
        if "last" not in values or values.keys() != record.get("epochs", {}).keys():
            path = run.path / RESULTS
            raise ValueError(f"{path} is not of a fine-tuning: it has no last epoch's value")
        test = run.value("test_manifests")
        validated_on_test = test is not None and run.value("valid_manifests") == test
        return {**record, "fold": self.number, "validated_on_test": validated_on_test}


def cross_validate(
    train: Path,
    hparams_file: Path,
    folds: Sequence[int],
    seeds: Sequence[int] | None,
    passed_on: Sequence[str],
    output: Path | None = None,
) -> tuple[dict[str, Any], Path]:
    """Runs the folds that are not finished, and writes `crossval.json`.

    Arguments
    ---------
    train : Path
        The recipe's `train.py`.
    hparams_file : Path
        A YAML file that fine-tunes.
    folds : sequence of int
        Numbers of the folds.
    seeds : sequence of int, optional
        Every fold is run by each; by default once, by the YAML file's.
    passed_on : sequence of str
        Words for `train.py`, in which `{fold}` and `{seed}` are filled in.
    output : Path, optional
        By default `results/<recipe>/crossval_<YAML file>`.

    Returns
    -------
    tuple
        The summary, for `format_table`, and the file in which it is.

    Raises
    ------
    ValueError
        If words or files are wrong, or the folder holds folds of others.
    FileNotFoundError
        If a fold's pretrained encoder is not there.
    RunError
        If a fold fails.
    """
    options, in_file = read_options(passed_on, seeds is not None), read_yaml(hparams_file)
    if "PretrainingBrain" in in_file.get("brain_class", ""):
        raise ValueError(
            f"{hparams_file} pretrains: crossval averages the results of fine-tuning; pretrain "
            "each fold with train.py, then give crossval a fine-tuning file"
        )
    recipe = train.resolve().parent.name
    output = output or Path("results", recipe, f"crossval_{hparams_file.stem}")

    def make_fold(number: int, seed: int | None) -> Fold:
        name, folder = f"fold {number}", output / f"fold{number}"
        if seed is not None:
            name, folder = f"{name}, seed {seed}", folder / f"seed{seed}"
        own = {"number": number, "seed": seed, "passed_on": passed_on}
        return Fold(name, train, str(hparams_file), folder, **own)

    runs = [[make_fold(number, seed) for number in folds] for seed in seeds or [None]]
    source = options.get("pretrained_encoder", in_file.get("pretrained_encoder"))
    encoders = find_encoders(source, [fold for folds in runs for fold in folds])
    experiment = {"recipe": f"{recipe}/{train.name}", "hparams_file": hparams_file.name}
    given = {
        **experiment,
        **({} if seeds is None else {"--seeds": "given"}),
        **{f"--{key}": value for key, value in options.items()},
    }
    keep_arguments(output, given)
    check_records(fold for folds in runs for fold in folds)
    keep_encoders(output, encoders)
    records: list[list[dict[str, Any]]] = []  # [seed][fold]
    for one_seeds in runs:
        records.append([])
        for fold in one_seeds:
            if fold.finished:
                print(f"{fold.name}: finished before, in {fold.folder}", flush=True)
            else:
                print(f"{fold.name}: to {fold.folder}", flush=True)
                keep_encoders(output, encoders)  # hours may have passed
                fold.run()
            records[-1].append(fold.read_record())
    summary = {**experiment, "arguments": passed_on, **summarise(records)}
    return summary, write_json(output / "crossval.json", summary)
