"""What `train.py --help` shows: how it is called, and the keys of a YAML file."""

from pathlib import Path

from ssast_recipes.records.hparams_text import read_lines

# SpeechBrain has more run options; these are the ones that a recipe's user may want.
_RUN_OPTIONS = {
    "prepare_only": "write the manifests, train nothing: before torchrun, or to join corpora",
    "device DEVICE": "cpu, cuda, cuda:1, …; by default a GPU if there is one",
    "precision fp32": "or bf16, fp16: mixed precision",
    "eval_precision fp32": "the same for validation and test",
    "optimizer_step_limit N": "stop after this many steps",
    "remove_vector_weight_decay": "no weight decay on biases and norms",
    "compile": "torch.compile all modules",
    "distributed_backend gloo": "how processes of torchrun talk; by default nccl on GPUs",
    "test_only": "do not train, evaluate what is saved",
    "noprogressbar": "no progress bars",
    "debug": "a few batches only; an error shows its traceback",
}
_WIDTH = 40


def describe_usage(program: str, hparams_file: Path | None = None) -> str:
    """Makes the text of `--help`.

    Arguments
    ---------
    program : str
        Path of the train.py.
    hparams_file : Path, optional
        The YAML file whose keys to list, with their values and comments. Without it, the YAML files
        beside the program are named.

    Returns
    -------
    str
        The text.

    Raises
    ------
    FileNotFoundError, IsADirectoryError
        If there is no such file.
    ValueError
        If it is not YAML.

    Example
    -------
    >>> path = getfixture("tmp_path") / "mine.yaml"
    >>> _ = path.write_text("# Model\\nsize: base # tiny, small, base\\nhidden:\\n    a: 1\\n")
    >>> print(describe_usage("train.py", path).partition("\\n\\n")[2].partition("\\n\\nRun")[0])
    Every key at the top of mine.yaml is an option, here with its value:
    <BLANKLINE>
    Model
      --size base                             tiny, small, base
      --hidden …
    """
    name = Path(program).name
    lines = [f"usage: python {name} YAML [--key value …] [run options]", ""]
    if hparams_file is None:
        lines.append("Every key at the top of a YAML file is an option. Its keys are listed by")
        files = find_hparams_files(program) or ["YAML"]
        lines += [f"  python {name} {file} --help" for file in files]
    else:
        lines.append(
            f"Every key at the top of {hparams_file.name} is an option, here with its value:"
        )
        text = hparams_file.read_text(encoding="utf-8", errors="replace")
        lines += _describe_keys(text, hparams_file)
    lines += ["", "Run options:"]
    lines += [_option(option, text) for option, text in _RUN_OPTIONS.items()]
    return "\n".join(lines)


def find_hparams_files(program: str) -> list[str]:
    """Names the YAML files that come with a train.py, as seen from its folder."""
    folder = Path(program).parent
    return sorted(str(path.relative_to(folder)) for path in folder.glob("hparams/*.yaml"))


def _describe_keys(text: str, source: Path) -> list[str]:
    """One line a key, under the comments that head them; what is nested is left out."""
    lines: list[str] = []
    for line in read_lines(text, source):
        if line.heading:
            lines += ["", *line.heading]
        if line.key[0].isalpha():
            # What begins so has arguments in the lines below, or is made of other keys.
            given = {"": "…", "!PLACEHOLDER": "(to be given)"}.get(line.value, line.value)
            lines.append(_option(f"{line.key} {given}", line.comment))
    return lines


def _option(option: str, text: str) -> str:
    return f"  --{option:<{_WIDTH - 4}}  {text}".rstrip()
