"""`ssast reproduce`: the runs that fill a table."""

import argparse
import shlex
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command line; see `ssast_recipes.cli`."""
    parser.add_argument("tables", nargs="+", metavar="TABLE", help="table1, table2, table3, …")
    parser.add_argument("--rows", help="names of rows, separated by ;")
    parser.add_argument("--tasks", help="keys of tasks, as AS,ESC")
    parser.add_argument("--seeds", default="1", help="as 1,2,3; default: %(default)s")
    parser.add_argument("--folds", help="as 1,2; default: all that a task has")
    parser.add_argument(
        "--data-root", type=Path, default=Path("data"), help="folder of the data sets' folders"
    )
    parser.add_argument(
        "--data", action="append", default=[], metavar="NAME=FOLDER", help="data that lie elsewhere"
    )
    parser.add_argument("--output", type=Path, default=Path("results/tables"))
    parser.add_argument("--released", action="store_true", help="the authors' weights, if any")
    parser.add_argument("--processes", type=int, default=1, help="runs at a time; default: 1")
    parser.add_argument("--dry-run", action="store_true", help="print the plan, run nothing")
    parser.add_argument("--commands", type=Path, help="write the commands to a file, run nothing")


def run(arguments: argparse.Namespace) -> None:
    """Plans, prints the plan, and executes it."""
    from ssast_recipes.jobs import run_jobs
    from ssast_recipes.tables.plan import Places, make_plan
    from ssast_recipes.tables.rows import read_table

    places = Places(
        arguments.output.absolute(),
        arguments.data_root.absolute(),
        {name: Path(f).absolute() for name, _, f in (d.partition("=") for d in arguments.data)},
    )
    plan = make_plan(
        [read_table(name) for name in arguments.tables],
        places,
        rows=arguments.rows and [name.strip() for name in arguments.rows.split(";")],
        tasks=arguments.tasks and arguments.tasks.split(","),
        seeds=[int(seed) for seed in arguments.seeds.split(",")],
        folds=arguments.folds and [int(fold) for fold in arguments.folds.split(",")],
        released=arguments.released,
    )
    for row, task, folder in plan.skipped:
        print(f"skipped: {row}, {task}: {folder} is not there")
    for job in plan.jobs:
        state = "done" if job.finished else "to do"
        print(f"{state}: {job.name}")
        if arguments.dry_run:
            print(f"    {shlex.join(map(str, job.command))}")
    if not arguments.dry_run:
        run_jobs(plan.jobs, arguments.processes, "tables")
