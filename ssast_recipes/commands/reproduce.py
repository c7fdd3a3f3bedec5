"""`ssast reproduce`: the runs that fill a table."""

import argparse
import shlex
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ssast_recipes.reporting.tables.plan import Plan
    from ssast_recipes.reporting.tables.rows import Table


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command line; see `ssast_recipes.commands.main`."""
    parser.add_argument("tables", nargs="+", metavar="TABLE", help="table1, table2, table3, …")
    parser.add_argument("--rows", help="names of rows, separated by ;")
    parser.add_argument("--tasks", help="keys of tasks, as AS,ESC")
    parser.add_argument(
        "--seeds", help="of fine-tuning, as 1,2,3; default: the table's, most often 1"
    )
    parser.add_argument("--folds", help="as 1,2; default: all that a task has")
    parser.add_argument(
        "--data-root", type=Path, default=Path("data"), help="folder of the data sets' folders"
    )
    parser.add_argument(
        "--data", action="append", default=[], metavar="NAME=FOLDER", help="data that lie elsewhere"
    )
    parser.add_argument("--output", type=Path, default=Path("results/tables"))
    parser.add_argument("--released", action="store_true", help="the authors' weights, if any")
    parser.add_argument(
        "--scale",
        choices=["full", "small", "smoke"],
        default="full",
        help="full: as published (the default); small: a tiny model, fewer steps; smoke: "
        "fabricated data and a few steps, to see that everything runs",
    )
    parser.add_argument("--processes", type=int, default=1, help="runs at a time; default: 1")
    parser.add_argument(
        "--dry-run", action="store_true", help="print the commands and what data are missing"
    )
    parser.add_argument("--commands", type=Path, help="write the commands to a file, run nothing")


def run(arguments: argparse.Namespace) -> None:
    """Plans, says what there is to do and what it takes, and does it."""
    if arguments.processes < 1:
        raise ValueError(f"--processes is 1 or more, not {arguments.processes}")

    from ssast_recipes.reporting.tables.costs import describe_costs
    from ssast_recipes.reporting.tables.plan import Places, make_plan
    from ssast_recipes.reporting.tables.rows import read_table
    from ssast_recipes.reporting.tables.scales import SMOKE, read_scale, scale_table
    from ssast_recipes.runs.jobs import run_jobs
    from ssast_recipes.system.files import write_text

    is_smoke = arguments.scale == SMOKE
    output = (arguments.output / arguments.scale).absolute()
    scale = read_scale(arguments.scale)
    tables = [scale_table(read_table(name), scale) for name in arguments.tables]
    data = dict(_pair(given) for given in arguments.data)
    _check_data(data, tables)
    places = Places(output, output / "data" if is_smoke else arguments.data_root.absolute(), data)
    if is_smoke:
        from ssast_recipes.reporting.tables.smoke import make_corpora

        make_corpora(places.data_root)
    plan = make_plan(
        tables,
        places,
        rows=arguments.rows and [name.strip() for name in arguments.rows.split(";")],
        tasks=arguments.tasks and arguments.tasks.split(","),
        seeds=arguments.seeds and _numbers("--seeds", arguments.seeds),
        folds=arguments.folds and _numbers("--folds", arguments.folds),
        released=arguments.released,
        without_data=arguments.dry_run,
    )
    _tell_missing(plan)
    waiting = [job for job in plan.jobs if not job.finished]
    print(describe_costs(plan), flush=True)
    commands = [shlex.join(map(str, job.command)) for job in waiting]
    if arguments.commands:
        write_text(arguments.commands, "".join(f"{command}\n" for command in commands))
        print(f"The commands, each after those above it that it needs: {arguments.commands}")
    elif arguments.dry_run:
        for job, command in zip(waiting, commands, strict=True):
            print(f"# {job.name}\n{command}")
    else:
        run_jobs(plan.jobs, arguments.processes, "tables")
    if not arguments.dry_run and not arguments.commands:
        scaled = "" if arguments.scale == "full" else f" --scale {arguments.scale}"
        print(f"To see the tables: ssast tables {' '.join(arguments.tables)} {output}{scaled}")


def _tell_missing(plan: "Plan") -> None:
    """Says what cannot be run, each reason once."""
    cells = f"of {plan.num_cells} cells"
    for folder, count in plan.missing.items():
        print(f"not there: {folder}, which {count} {cells} need")
    missing = {f"{folder} is not there" for folder in plan.missing}
    others = Counter(reason for *_, reason in plan.skipped if reason not in missing)
    for reason, count in others.items():
        print(f"skipped: {count} {cells}: {reason}")
    if left_out := len(plan.skipped) - others.total():
        print(f"skipped: {left_out} {cells}, for want of data")


def _pair(given: str) -> tuple[str, Path]:
    name, equals, folder = given.partition("=")
    if not equals:
        raise ValueError(f"--data {given}: give NAME=FOLDER, as ESC-50=/data/ESC-50-master")
    return name, Path(folder).absolute()


def _check_data(given: Mapping[str, Path], tables: Sequence["Table"]) -> None:
    known = {task.data for table in tables for task in table.tasks.values()}
    for pretraining in (row.pretraining for table in tables for row in table.rows):
        if pretraining is not None:
            known |= {pretraining.data, *(one["data"] for one in pretraining.prepares.values())}
    unknown = sorted(given.keys() - known)
    if unknown:
        raise ValueError(
            f"--data {unknown[0]}=…: nothing is read from there; there are: "
            f"{', '.join(sorted(known))}"
        )


def _numbers(option: str, text: str) -> list[int]:
    try:
        return [int(number) for number in text.split(",")]
    except ValueError:
        raise ValueError(f"{option} {text}: give whole numbers, as 1,2,3") from None
