"""`ssast tables`: published numbers beside those of the runs at hand."""

import argparse
from pathlib import Path

TITLE = "# Results"
INTRODUCTION = """\
This page is what `ssast tables --format markdown` prints of the runs recorded in `ledger/`: their
`results.json` and predictions, no weights. `ssast tables --check` computes each value again from
the predictions. `ssast reproduce TABLE` runs what is missing."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command line; see `ssast_recipes.commands.main`."""
    parser.add_argument(
        "names",
        nargs="*",
        metavar="TABLE|FOLDER",
        help="tables, by name or YAML file, and folders of runs or a ledger",
    )
    parser.add_argument("--format", choices=["text", "markdown", "csv"], default="text")
    parser.add_argument(
        "--scale", choices=["full", "small", "smoke"], default="full", help="of ssast reproduce"
    )
    parser.add_argument("--rows", metavar="FIELD", help="any other table: what its rows are")
    parser.add_argument("--columns", metavar="FIELD", help="and its columns")
    parser.add_argument(
        "--evaluations", type=Path, metavar="FOLDER", help="tables of what ssast evaluate recorded"
    )
    parser.add_argument("--check", action="store_true", help="compute each value again")
    parser.add_argument("--copy-to", type=Path, metavar="LEDGER", help="keep the records there")
    parser.add_argument("--output", type=Path, help="write to a file in place of printing")


def run(arguments: argparse.Namespace) -> int:
    """Prints tables, checks records, or copies them."""
    if arguments.evaluations:
        _print(_evaluations(arguments), arguments.output)
        return 0

    from ssast_recipes.reporting.tables.ledger import copy_ledger, read_ledger
    from ssast_recipes.reporting.tables.rows import table_names

    known = table_names()
    tables = [name for name in arguments.names if name in known or name.endswith(".yaml")]
    folders = [Path(name) for name in arguments.names if name not in tables]
    folders = folders or _default_ledger()
    records = read_ledger(folders)
    if arguments.check:
        return _check(records)
    if arguments.copy_to:
        count = copy_ledger(records, folders, arguments.copy_to)
        print(f"{count} records in {arguments.copy_to}")
        return 0
    text = _grouped(records, arguments) if arguments.rows else _tables(records, tables, arguments)
    _print(text, arguments.output)
    return 0


def _print(text: str, output: Path | None) -> None:
    from ssast_recipes.system.files import write_text

    if output:
        write_text(output, f"{text}\n")
    else:
        print(text)


def _evaluations(arguments: argparse.Namespace) -> str:
    from ssast_recipes.reporting.tables.evaluations import format_evaluations

    if arguments.names:
        raise ValueError("--evaluations FOLDER goes without tables and other folders")
    return format_evaluations(arguments.evaluations, arguments.format)


def _default_ledger() -> list[Path]:
    ledger = Path("ledger")
    if not ledger.is_dir():
        raise FileNotFoundError("there is no folder ledger here; name folders of runs, or a ledger")
    return [ledger]


def _tables(records: list, tables: list[str], arguments: argparse.Namespace) -> str:
    from ssast_recipes.reporting.tables.cells import fill_cells
    from ssast_recipes.reporting.tables.layout import format_table
    from ssast_recipes.reporting.tables.rows import read_table, table_names
    from ssast_recipes.reporting.tables.scales import read_scale, scale_table

    parts, scale = [], read_scale(arguments.scale)
    for name in tables or table_names():
        table = scale_table(read_table(name), scale)
        parts.append(format_table(table, fill_cells(table, records), arguments.format))
    if arguments.format == "csv":
        heads = [part.partition("\n") for part in parts]
        return "\n".join([heads[0][0], *(rest for _, _, rest in heads)])
    if arguments.format == "markdown" and not tables:
        parts = [TITLE, INTRODUCTION, *parts]
    return "\n\n".join(parts)


def _grouped(records: list, arguments: argparse.Namespace) -> str:
    from ssast_recipes.reporting.tables.grouping import group
    from ssast_recipes.reporting.tables.layout import format_lines

    if not arguments.columns:
        raise ValueError("--rows FIELD needs --columns FIELD")
    return format_lines(*group(records, arguments.rows, arguments.columns), arguments.format)


def _check(records: list) -> int:
    from collections import Counter

    from ssast_recipes.reporting.tables.checking import check_record

    if not records:
        raise FileNotFoundError("there is no results.json to check; name folders of runs")
    checked, wrong = Counter(), []
    for record in records:
        right, problems = check_record(record)
        checked.update(right)
        wrong += problems
    for problem in wrong:
        print(f"wrong: {problem}")
    told = ", ".join(f"{count} × {name}" for name, count in sorted(checked.items()))
    others = sum(record.is_pretraining for record in records)
    left = f", {others} of them of pretraining, which predicts no classes" if others else ""
    print(f"{len(records)} records{left}; right: {told or 'nothing'}; {len(wrong)} wrong")
    return 1 if wrong else 0
