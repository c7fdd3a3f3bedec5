"""What of a configuration decides what a run computes."""

import hashlib
import json
from collections.abc import Iterator, Mapping, Set
from pathlib import Path
from typing import Any

from ssast_recipes.records.hparams import (
    List,
    Map,
    Node,
    compose,
    is_block,
    is_choice,
    is_object,
    read_hparams,
    read_value,
)
from ssast_recipes.records.options import changed_options

# Where a run's data lie, how many may be bad and where it computes is no part of what it computes.
FOLDER_KEYS = ("data_folder", "manifest_folder", "output_folder", "pretrained_encoder")
PLACE_KEYS = (
    "activation_checkpointing",
    "device",
    "distributed_backend",
    "download",
    "download_sha256",
    "max_rejected",
    "noprogressbar",
    "num_workers",
    "param_file",
)
# How long a run goes on, and how a step is cut into batches (that a step is as large as before is
# checked when it resumes).
_LENGTH_KEYS = (
    "batch_size",
    "grad_accumulation_factor",
    "num_steps",
    "number_of_epochs",
    "valid_interval",
    "patience",
)
# How often and by what a run is looked at, and what only holds this and its length.
_WATCHING_KEYS = (
    "train_dataloader_opts",
    "valid_dataloader_opts",
    "test_dataloader_opts",
    "epoch_counter",
    "checkpointer",
    "checkpoint_interval",
    "checkpoints_to_keep",
    "log_interval",
    "probe_data",
    "probe_interval",
    "record",
    "training_log",
)
_ALWAYS_IGNORED = frozenset({*PLACE_KEYS, *_WATCHING_KEYS})
# Arguments that came after runs had begun, with the value that says what was the case before: it
# counts as if it were not there.
_LATER_ARGUMENTS = {"positions": "learned", "low_frequency": "20", "high_frequency": "0"}
_OURS = "ssast_recipes."
_OBJECT = "!"  # which is no key of YAML


def configuration_sha256(path: Path, run_options: Mapping[str, Any] | None = None) -> str:
    """Hashes a resolved YAML file without its comments, paths and device.

    Arguments
    ---------
    path : Path
        The `hyperparams.yaml` that a run keeps.
    run_options : mapping, optional
        Options of the command line that are no keys of that file.

    Returns
    -------
    str
        The same for runs that compute the same, wherever their data lie.

    Example
    -------
    >>> first, second = (getfixture("tmp_path") / name for name in ("a.yaml", "b.yaml"))
    >>> _ = first.write_text("# today\\noutput_folder: /a\\nlog: /a/log.txt\\nlr: 0.1")
    >>> _ = second.write_text("output_folder: /b\\nlog: /b/log.txt\\nlr: 0.1")
    >>> configuration_sha256(first) == configuration_sha256(second)
    True
    """
    nodes = read_hparams(path)
    others = {key: value for key, value in (run_options or {}).items() if key not in nodes}
    named = [key for key in FOLDER_KEYS if key in nodes and len(nodes[key].value) > 1]
    forms = _Forms({key: nodes[key] for key in named})
    content = {key: forms.of(node) for key, node in nodes.items() if key not in PLACE_KEYS}
    text = json.dumps([content, sorted(others.items())], sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def changed_keys(
    before: str | bytes,
    now: str | bytes,
    source: str | Path = "hyperparams.yaml",
    length_may_change: bool = True,
) -> list[str]:
    """Names the keys that a run may not change when it goes on.

    Where data lie, how many may be bad and how long training goes on may change, how often and by
    what it is looked at, and into which batches a step is cut. So may the layout of the YAML file:
    in which module of ours a class is, whether an object stands at the top or in a block
    (`parts: {encoder: …}`), and whether a key is null or not there.

    Arguments
    ---------
    before, now : str or bytes
        Texts of resolved YAML files.
    source : str or Path
        What errors call the one of before.
    length_may_change : bool
        As it may where a run goes on; not where the results of several are averaged.

    Returns
    -------
    list[str]
        The top-level keys whose values differ, and run options that are none, sorted.

    Raises
    ------
    ValueError
        If one is not YAML.

    Example
    -------
    >>> changed_keys("lr: 0.1\\nnum_steps: 10\\nseed: 1", "lr: 0.2\\nnum_steps: 20\\nseed: 1")
    ['lr']
    >>> changed_keys("num_steps: 10", "num_steps: 20", length_may_change=False)
    ['num_steps']
    >>> before = "loss: !name:ssast_recipes.losses.focal {gamma: 2}"
    >>> now = "parts: {loss: &1 !name:ssast_recipes.objectives.focal {gamma: 2}}\\nloss: *1"
    >>> changed_keys(before, now), changed_keys(before, now.replace("2", "3"))
    ([], ['loss', 'parts'])
    """
    ignored = _ALWAYS_IGNORED | ({*_LENGTH_KEYS} if length_may_change else set())
    first = _Configuration(compose(before, source), ignored)
    second = _Configuration(compose(now, "the YAML file"), ignored)
    keys = {key for key in first.keys | second.keys if _differ(first, second, key)}
    return sorted(keys | changed_options(before, now))


class _Configuration:
    """What is at the top and in blocks, as texts that are compared."""

    def __init__(self, items: list[tuple[str, Node]], ignored: Set[str]):
        nodes = dict(items)
        places = [key for key in FOLDER_KEYS if key in nodes and key != "pretrained_encoder"]
        forms = _Forms({key: nodes[key] for key in places})
        self.top: dict[str, str] = {}
        self.blocks: dict[str, dict[str, str]] = {}
        for key, node in nodes.items():
            if key in ignored:
                continue
            # The Brain takes `modules` as they are.
            if is_block(node) and key != "modules":
                self.blocks[key] = {
                    path: _text(forms.of(one)) for path, one in _flatten(node, ignored)
                }
            else:
                self.top[key] = _text(forms.of(node))
        self.keys = {*self.top, *self.blocks}
        self.objects = forms.objects

    def knows(self, key: str, text: str) -> bool:
        """Whether a value that another configuration has at a key is null, or is elsewhere here."""
        if text == "null" or text in self.objects:
            return True
        places = (path for block in self.blocks.values() for path in block.items())
        return any(path.rpartition(".")[2] == key and text == one for path, one in places)


def _differ(first: _Configuration, second: _Configuration, key: str) -> bool:
    if key in first.top and key in second.top:
        return first.top[key] != second.top[key]
    if key in first.top or key in second.top:
        holder, other = (first, second) if key in first.top else (second, first)
        return key in other.blocks or not other.knows(key, holder.top[key])
    one, two = first.blocks.get(key, {}), second.blocks.get(key, {})
    if any(one[path] != two[path] for path in one.keys() & two.keys()):
        return True
    # What one alone has in a block counts if it is an object: plain values there are what these
    # are made of.
    return any(
        block[path] in holder.objects and not other.knows(path, block[path])
        for block, holder, other in ((one, first, second), (two, second, first))
        for path in one.keys() ^ two.keys()
        if path in block
    )


def _flatten(block: Map, ignored: Set[str]) -> Iterator[tuple[str, Node]]:
    """What a block holds, and the blocks in it, by path."""
    for key, node in block.value:
        if key.value in ignored:
            continue
        if is_block(node):
            yield from ((f"{key.value}.{path}", one) for path, one in _flatten(node, ignored))
        else:
            yield key.value, node


class _Forms:
    """Turns nodes into plain values whose texts are equal if the nodes say the same.

    Arguments
    ---------
    folders : mapping of str to Node
        By key, the folders whose paths are told by these keys, wherever they are part of a value.
    """

    def __init__(self, folders: Mapping[str, Node]):
        paths = {
            node.value: f"<{key}>"
            for key, node in folders.items()
            if node.tag.endswith(":str") and node.value
        }
        # The longest first: one may hold another.
        self.folders = sorted(paths.items(), key=lambda item: -len(item[0]))
        self.objects: set[str] = set()  # all that were met

    def of(self, node: Node) -> Any:
        """The form of a node; that of an object is unlike any plain value's."""
        if is_object(node):
            form = {_OBJECT: [_class(node.tag), self._content(node) or {}]}
            self.objects.add(_text(form))
            return form
        return self._content(node)

    def _content(self, node: Node) -> Any:
        if isinstance(node, Map):
            pairs = ((key.value, value) for key, value in node.value)
            return {
                key: self.of(value)
                for key, value in pairs
                if key not in PLACE_KEYS and _LATER_ARGUMENTS.get(key, self) != value.value
            }
        if isinstance(node, List) and not is_choice(node):
            return [self.of(item) for item in node.value]
        return self._plain(read_value(node))

    def _plain(self, value: Any) -> Any:
        if isinstance(value, list):
            return [self._plain(one) for one in value]
        if isinstance(value, int) and not isinstance(value, bool) and float(value) == value:
            return float(value)  # 1 and 1.0 are one number
        for folder, name in self.folders:
            if value == folder or (isinstance(value, str) and value.startswith(folder + "/")):
                return name + value[len(folder) :]
        return value


def _class(tag: str) -> str:
    """A tag without the module of a class of ours: `!new:ssast_recipes.Masker`.

    Of a class's own function, as `ClassEncoder.from_file`, the class stays.
    """
    kind, _, name = tag.partition(":")
    if not name.startswith(_OURS):
        return tag
    *modules, last = name.split(".")
    owner = f"{modules[-1]}." if modules[-1][:1].isupper() else ""
    return f"{kind}:{_OURS}{owner}{last}"


def _text(form: Any) -> str:
    return json.dumps(form, sort_keys=True, default=str)
