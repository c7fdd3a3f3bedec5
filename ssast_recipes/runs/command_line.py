"""How every `train.py` begins and ends: its command line and its errors."""

import dataclasses
import logging
import os
import pydoc
import sys
import threading
import traceback
from collections.abc import Callable, Mapping, Sequence
from datetime import date
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

import speechbrain as sb
import torch
import yaml
from hyperpyyaml import load_hyperpyyaml, resolve_references
from ruamel.yaml.error import YAMLError
from speechbrain.utils.distributed import ddp_init_group
from speechbrain.utils.run_opts import RunOptions
from tqdm import tqdm

from ssast_recipes.brains.resuming import describe_interruption
from ssast_recipes.records.configuration import PLACE_KEYS
from ssast_recipes.records.options import tell_options
from ssast_recipes.records.overrides import check_overrides
from ssast_recipes.records.settings import name_experiment, read_settings
from ssast_recipes.runs.command_line_help import describe_usage, find_hparams_files
from ssast_recipes.runs.folder import leaving_no_folder
from ssast_recipes.system.errors import explain
from ssast_recipes.system.interruption import Interrupted, raising_interrupts, telling_interrupts
from ssast_recipes.system.machine import check_device
from ssast_recipes.system.words import ShownRecord
from ssast_recipes.weights.finding import find_weights
from ssast_recipes.weights.source import fetch_weights

logger = logging.getLogger(__name__)


def run_experiment(main: Callable[[Sequence[str]], None]) -> None:
    """Runs a recipe's `main` with the arguments of the command line.

    What the user can mend is told in one line on standard error, and the exit status is 1. The
    run's `log.txt` gets the traceback too, standard error only with `--debug`. Any other exception
    is a mistake of ours and keeps its traceback. Ctrl-C and SIGTERM end in one line that says what
    is saved, and in status 130 or 143.

    Arguments
    ---------
    main : callable
        The recipe's `main(arguments)`.

    Raises
    ------
    SystemExit
        With a status above 0 after an interruption or an error that the user can mend.
    """
    program, *arguments = sys.argv
    name = Path(program).name
    # Of a full disk, logging and TensorBoard's thread would print a traceback at every line.
    logging.raiseExceptions = False
    logging.setLogRecordFactory(ShownRecord)
    threading.excepthook = _tell_of_thread
    _quieten_others()
    with raising_interrupts():
        try:
            with telling_interrupts(partial(describe_interruption, 0)):
                main(arguments)
            if torch.distributed.is_initialized():
                leave_together()
        except Interrupted as interruption:
            if os.environ.get("RANK", "0") == "0":
                tqdm.write(f"{name}: {interruption}", file=sys.stderr)
            if torch.distributed.is_initialized():
                _leave(interruption.status)  # the others may be gone: there is nothing to wait for
            sys.exit(interruption.status)
        except Exception as error:
            line = explain(error)
            if line is None:
                raise
            _write_to_log(error, line)
            if "--debug" in arguments:
                traceback.print_exception(error)
            # Unlike print, this does not write into a progress bar.
            tqdm.write(f"{name}: error: {line}", file=sys.stderr)
            sys.exit(1)


def _quieten_others() -> None:
    """Keeps warnings; what else SpeechBrain tells, our Brains tell in fewer words."""
    logging.getLogger("matplotlib").setLevel(logging.WARNING)  # it would log every font it finds
    os.environ["SB_LOG_LEVEL"] = "WARNING"  # of what the YAML file is going to import
    for name in list(logging.root.manager.loggerDict):
        if name.startswith("speechbrain"):  # each has a level of its own
            logging.getLogger(name).setLevel(logging.WARNING)


def leave_together() -> NoReturn:
    """Ends this process with status 0, once all processes have come to their ends.

    At once: the interpreter's own end tears down gloo's threads in an order in which, now and then,
    they abort.
    """
    torch.distributed.barrier()
    _leave(0)


def _leave(status: int) -> NoReturn:
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def _tell_of_thread(raised: threading.ExceptHookArgs) -> None:
    if raised.exc_value is None or explain(raised.exc_value) is None:
        threading.__excepthook__(raised)


def _write_to_log(error: Exception, line: str) -> None:
    exc_info = (type(error), error, error.__traceback__)
    record = logger.makeRecord(logger.name, logging.ERROR, __file__, 0, "%s", (line,), exc_info)
    for handler in logging.getLogger().handlers:
        if isinstance(handler, logging.FileHandler):
            handler.handle(record)


def read_experiment(
    arguments: Sequence[str],
) -> tuple[str, dict[str, Any], RunOptions, str]:
    """Reads a recipe's command line and its YAML file.

    The YAML file's folder goes onto the import path, so that it can name a user's own Python
    files. Processes started by `torchrun` are joined, by gloo where there is no GPU.

    Arguments
    ---------
    arguments : sequence of str
        The command line: a YAML file, then `--key value` for its keys and for run options.

    Returns
    -------
    tuple
        Path of the YAML file; hyperparameters with their objects, among them a dict `record` that
        also holds the run options given, and `prepare_only`, whether to stop when the data are
        prepared; run options; overrides.

    Raises
    ------
    SystemExit
        With status 0 after `--help`.
    FileNotFoundError
        If there is no YAML file, or the pretrained encoder that it names cannot be had.
    ValueError
        If no YAML file is given or it is wrong, a key of the command line is unknown or has no
        value, a placeholder is left, an override names another object than the YAML file does, an
        object refuses its arguments, or there is no such device.
    """
    _check_file(arguments)
    arguments = [_with_underscores(word) for word in arguments]
    prepares_only = "--prepare_only" in arguments
    hparams_file, run_options, overrides = sb.parse_arguments(
        [word for word in arguments if word != "--prepare_only"]
    )
    check_device(run_options.device)
    folder = str(Path(hparams_file).resolve().parent)
    if folder not in sys.path:
        sys.path.insert(0, folder)
    on_gpu = torch.cuda.is_available() and run_options.device != "cpu"
    if not on_gpu and run_options.distributed_backend == "nccl":
        run_options = dataclasses.replace(
            run_options,
            distributed_backend="gloo",
            overridden_args=run_options.overridden_args | {"distributed_backend"},
        )
    ddp_init_group(run_options)
    keys = check_overrides(hparams_file, overrides)
    # SpeechBrain's own record, hyperparams.yaml, leaves out run options of the command line.
    options = sorted(run_options.overridden_args - {*PLACE_KEYS})
    given = {option: run_options[option] for option in options}
    in_file = {option: value for option, value in given.items() if option in keys}
    if in_file:
        overrides = f"{overrides}\n{yaml.safe_dump(in_file)}".strip()
    others = {option: value for option, value in given.items() if option not in keys}
    hparams = _load(hparams_file, overrides, others)
    hparams["record"]["run_options"] = given
    hparams["prepare_only"] = prepares_only
    hparams["record"]["experiment"] = name_experiment(hparams_file)
    hparams["record"]["settings"] = read_settings(hparams["configuration"])
    if hparams.get("pretrained_encoder"):
        hparams["pretrained_encoder"] = _find_encoder(hparams["pretrained_encoder"])
    return hparams_file, hparams, run_options, overrides


def _with_underscores(word: str) -> str:
    """Reads `--num-steps`, as `ssast` has it, as `--num_steps`: no key has a dash."""
    name, equals, value = word.partition("=")
    is_option = name.startswith("--") and name[2:].replace("-", "_").isidentifier()
    return f"--{name[2:].replace('-', '_')}{equals}{value}" if is_option else word


def _check_file(arguments: Sequence[str]) -> None:
    """Shows the help that is asked for, and refuses a command line without YAML file."""
    program = sys.argv[0]
    first = arguments[0] if arguments and not arguments[0].startswith("-") else None
    if {"-h", "--help"} & {*arguments}:
        print(describe_usage(program, Path(first) if first else None))
        sys.exit(0)
    example = next(iter(find_hparams_files(program)), "hparams/mine.yaml")
    advice = f"as in {Path(program).name} {example} --key value; --help lists the keys"
    if first is None:
        raise ValueError(f"the first argument is to be a YAML file, {advice}")
    if Path(first).is_dir():
        raise ValueError(f"{first} is a folder; give a YAML file, {advice}")
    if not Path(first).exists():
        raise FileNotFoundError(f"{first}: there is no such file; give a YAML file, {advice}")


def _find_encoder(source: str) -> str:
    """Finds or downloads pretrained weights, before anything else is done, and returns where."""
    try:
        path = fetch_weights(source)
    except OSError as error:
        raise FileNotFoundError(f"pretrained_encoder {error}") from None
    find_weights(path)
    return str(path)


def _load(hparams_file: str, overrides: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """Builds what the YAML file names; its resolved text goes along, as `configuration`."""
    try:
        with open(hparams_file, encoding="utf-8") as file:
            resolved = resolve_references(file, overrides).getvalue()
        # The checkpointer makes the run's folder, before it is known whether there is to be a run.
        with leaving_no_folder(resolved), open(hparams_file, encoding="utf-8") as file:
            hparams = load_hyperpyyaml(file, overrides)
        # As SpeechBrain writes it, which first cuts off the one before.
        made = f"# Generated {date.today()} from:\n# {Path(hparams_file).absolute()}\n"
        hparams["configuration"] = f"{made}{tell_options(options)}# yamllint disable\n{resolved}"
        return hparams
    except pydoc.ErrorDuringImport as error:  # what a file named in the YAML file raised
        raise error.value from None
    except ImportError as error:
        advice = "check the name; a Python file of your own belongs beside the YAML file"
        raise ValueError(f"{hparams_file}: {error}; {advice}") from error
    # A TypeError: HyperPyYAML's for arguments that a class or function does not take.
    except (TypeError, ValueError, YAMLError) as error:
        parts = [error] if isinstance(error, YAMLError) else error.args
        text = ": ".join(str(part).strip(" :") for part in parts)
        raise ValueError(f"{hparams_file}: {text}") from error
