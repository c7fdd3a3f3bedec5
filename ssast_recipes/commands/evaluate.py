"""`ssast evaluate`: what frozen encoders know, against baselines that learn nothing."""

import argparse
import importlib.util
import sys
from pathlib import Path

from ssast_recipes import __version__

DEFAULT = ("knn", "linear")
PROBES = (*DEFAULT, "logistic", "attentive")
AGAINST = "log-mel"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command line; see `ssast_recipes.commands.main`."""
    parser.add_argument(
        "encoders",
        nargs="+",
        metavar="ENCODER",
        help="run folder, model folder, Hugging Face's folder or Hub name, weights file, a name of "
        "ssast import --help; random:tiny (small, base) or random:ENCODER, untrained; log-mel, "
        "log-mel-stats, mfcc; module:NAME[=WEIGHTS], a Python module with HEAR's interface. "
        "{fold} in a path stands for the number of a task's fold",
    )
    parser.add_argument(
        "--tasks",
        nargs="+",
        required=True,
        metavar="TASK",
        help="NAME=LABELS, labels as ssast finetune takes them; esc50=DIR, esc10=DIR, "
        "speechcommands=DIR, speechcommands-v1=DIR, voxceleb=DIR, iemocap=DIR, by their own "
        "splits; hear:DIR, a scene task as HEAR's preprocessing leaves it",
    )
    parser.add_argument(
        "--output", type=Path, default=Path("results/evaluate"), help="default: results/evaluate"
    )
    parser.add_argument(
        "--probes", nargs="+", choices=PROBES, default=list(DEFAULT), help="default: knn linear"
    )
    parser.add_argument(
        "--folds", type=int, help="cross-validate labels without splits by so many folds"
    )
    parser.add_argument(
        "--few-shot", nargs="+", type=int, default=[], metavar="N", help="clips a class; ten draws"
    )
    parser.add_argument(
        "--layers", action="store_true", help="also probe every layer alone, by ridge regression"
    )
    parser.add_argument(
        "--against",
        metavar="ENCODER",
        default=AGAINST,
        help="with which the others are compared, clip by clip; default: log-mel",
    )
    parser.add_argument("--note", metavar="TEXT", help="what else the record is to tell")
    parser.add_argument("--cache", type=Path, help="of embeddings; default: OUTPUT/embeddings")
    parser.add_argument("--device", help="cpu, cuda, mps; default: a GPU if there is one")
    parser.add_argument("--batch-size", type=int, default=8, help="windows at a time; default: 8")
    parser.add_argument("--workers", type=int, help="threads that read files; default: one a core")


def run(arguments: argparse.Namespace) -> int:
    """Evaluates, prints the table and writes page and rows.

    Returns
    -------
    int
        1 if an encoder failed on a task, which is told; the others are evaluated all the same.

    Raises
    ------
    ValueError, OSError
        If a task or an encoder is not there, before anything is computed.
    """
    _check(arguments)

    from ssast_recipes.evaluation.comparing import compare
    from ssast_recipes.evaluation.encoders import check_encoder
    from ssast_recipes.evaluation.records import CHANCE, write_evaluation
    from ssast_recipes.evaluation.running import Evaluation, Options
    from ssast_recipes.evaluation.sources import read_task
    from ssast_recipes.evaluation.table import (
        describe_task,
        format_differences,
        format_results,
        ordered_encoders,
    )
    from ssast_recipes.inference.audio_model import place_of
    from ssast_recipes.inference.files import choose_workers
    from ssast_recipes.reporting.evaluation import make_evaluation_page
    from ssast_recipes.system.files import write_text
    from ssast_recipes.system.locking import one_at_a_time

    place_of(arguments.device)
    encoders = list(dict.fromkeys(arguments.encoders))
    for name in encoders:
        check_encoder(name)
    output = arguments.output.absolute()
    with one_at_a_time(output):
        tasks = [read_task(text, output / "tasks", arguments.folds) for text in arguments.tasks]
        names = [task.name for task in tasks]
        if len(set(names)) < len(names):
            raise ValueError(f"--tasks: two have the same name, of {', '.join(names)}")
        options = Options(
            tuple(arguments.probes),
            tuple(sorted(set(arguments.few_shot))),
            arguments.layers,
            arguments.device,
            arguments.batch_size,
            choose_workers(arguments.workers),
        )
        evaluation = Evaluation(output, arguments.cache or output / "embeddings", options)
        evaluation.run(encoders, tasks)
        records = evaluation.records
        found = {(record.task, record.encoder): record for record in records}
        differences = [
            compare(task, probe, found[task.name, name], found[task.name, arguments.against])
            for task in tasks
            for probe in options.probes
            for name in ordered_encoders(records)
            if name not in (CHANCE, arguments.against)
            and (task.name, name) in found
            and (task.name, arguments.against) in found
        ]
        told = [one for one in differences if one is not None]
        head = {
            "tasks": [
                {"name": task.name, "metric": task.metric, "told": describe_task(task)}
                for task in tasks
            ],
            "baselines": [record.encoder for record in records if record.is_baseline],
            "probes": options.probes,
            "package_version": __version__,
            "differences": [one._asdict() for one in told],
            "failures": evaluation.failures,
            "note": arguments.note,
        }
        write_evaluation(output, records, head)
        page = make_evaluation_page(evaluation, tasks, told, output)
        write_text(output / "evaluation.html", page)
    print(f"\n{format_results(records, tasks, options.probes)}")
    if told:
        print(f"\n{format_differences(told)}")
    print(f"\n{output / 'evaluation.html'} shows more; evaluation.parquet: a row a number")
    return _finish(evaluation.failures)


def _check(arguments: argparse.Namespace) -> None:
    for option, least in (("folds", 2), ("batch_size", 1)):
        value = getattr(arguments, option)
        if value is not None and value < least:
            raise ValueError(f"--{option.replace('_', '-')} is {least} at least, not {value}")
    if "logistic" in arguments.probes and importlib.util.find_spec("sklearn") is None:
        raise ValueError(
            "--probes logistic: install scikit-learn: pip install 'ssast-recipes[evaluate]'"
        )
    if any(shots < 1 for shots in arguments.few_shot):
        raise ValueError(f"--few-shot takes numbers of clips, 1 at least: {arguments.few_shot}")


def _finish(failures: list[str]) -> int:
    for line in failures:
        print(f"ssast: error: {line}", file=sys.stderr)
    return 1 if failures else 0
