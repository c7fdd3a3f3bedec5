"""Reading hparams YAML: as nodes, of which nothing is built."""

from pathlib import Path
from typing import Any

import yaml

_DEEPEST, _LARGEST = 100, 10**6  # levels, and values, of a YAML file
Node, Scalar, List, Map = yaml.Node, yaml.ScalarNode, yaml.SequenceNode, yaml.MappingNode


def compose(text: str | bytes, source: str | Path = "the text") -> list[tuple[str, Node]]:
    """Reads the keys at the top of a YAML text, and their nodes.

    Arguments
    ---------
    text : str or bytes
        The text.
    source : str or Path
        What errors call it.

    Returns
    -------
    list of tuple[str, Node]
        In their order; a key that comes twice is there twice.

    Raises
    ------
    ValueError
        If it is not YAML, or not keys and values.

    Example
    -------
    >>> [(key, read_value(node)) for key, node in compose("lr: 1e-4 # high\\nsizes: [1, two]")]
    [('lr', 0.0001), ('sizes', [1, 'two'])]
    """
    try:
        root = yaml.compose(text)
    except (yaml.YAMLError, RecursionError) as error:
        raise ValueError(f"{source} is not YAML: {' '.join(str(error).split())}") from None
    except UnicodeDecodeError as error:
        raise ValueError(f"{source} is not UTF-8 text ({error}); save it as UTF-8") from None
    if not isinstance(root, Map) or not all(isinstance(key, Scalar) for key, _ in root.value):
        raise ValueError(f"{source} holds no keys and values")
    try:
        _check(root, (), {})
    except ValueError as error:
        raise ValueError(f"{source}: {error}") from None
    return [(key.value, node) for key, node in root.value]


def _check(node: Node, above: tuple[Node, ...], sizes: dict[int, int]) -> int:
    """Refuses what `read_value` could not read, or would not come to the end of; counts its parts.

    What is said once (`&a`) and meant often (`*a`) is read as often as it is meant.
    """
    if id(node) in sizes:
        return sizes[id(node)]
    line = f"line {node.start_mark.line + 1}"
    if any(node is one for one in above) or len(above) > _DEEPEST:
        raise ValueError(f"{line}: it holds itself, or lies too deep")
    if isinstance(node, Map):
        if not all(isinstance(key, Scalar) for key, _ in node.value):
            raise ValueError(f"{line}: a key is no word")
        parts = [value for _, value in node.value]
    else:
        parts = node.value if isinstance(node, List) else []
    if is_choice(node) and not (isinstance(node, List) and len(parts) == 2):
        raise ValueError(f"{line}: a choice takes a list of values, and which")
    size = 1 + sum(_check(part, (*above, node), sizes) for part in parts)
    if size > _LARGEST:
        raise ValueError(f"{line}: it holds more than {_LARGEST} values")
    if is_choice(node) and parts[1].tag != "!ref":  # of text whose references are not resolved
        try:
            read_value(node)
        except (LookupError, TypeError) as error:
            raise ValueError(f"{line}: the choice is not among its values ({error})") from None
    sizes[id(node)] = size
    return size


def read_hparams(path: Path) -> dict[str, Node]:
    """Reads the keys at the top of a YAML file, and their nodes; see `compose`."""
    return dict(compose(path.read_bytes(), path))


def node_text(node: Node) -> str:
    """The YAML text of a node, without comments and with its tags as they are.

    Example
    -------
    >>> [node_text(node) for _, node in compose("a: !new:b.C # one\\n    d: 1")]
    ['!new:b.C\\nd: 1']
    """
    return yaml.serialize(node).removesuffix("...\n").strip()


def is_null(node: Node) -> bool:
    """Whether a node says `null`, or nothing.

    Example
    -------
    >>> [is_null(node) for _, node in compose("a: null\\nb:\\nc: 0")]
    [True, True, False]
    """
    return node.tag.endswith(":null") or (isinstance(node, Scalar) and node.value == "")


def is_object(node: Node) -> bool:
    """Whether a node has a tag of its own, as what names a class or a function."""
    return node.tag.startswith("!") and not is_choice(node)


def is_choice(node: Node) -> bool:
    """Whether a node chooses among values by a key: how one key says the values of others."""
    return node.tag == "!apply:operator.getitem"


def is_block(node: Node) -> bool:
    """Whether a node gathers objects under their names, as an included file does.

    Example
    -------
    >>> [
    ...     is_block(node)
    ...     for _, node in compose("a: {b: !new:c.D {}}\\ne: {f: 1}\\ng: !new:c.D {h: 1}")
    ... ]
    [True, False, False]
    """
    return (
        isinstance(node, Map)
        and not is_object(node)
        and any(is_object(item) or is_block(item) for _, item in node.value)
    )


def object_name(node: Node) -> str:
    """The last word of what a node's tag names: of a class, without its modules.

    Example
    -------
    >>> [object_name(node) for _, node in compose("a: !name:torch.optim.Adam {lr: 0.1}")]
    ['Adam']
    """
    return node.tag.partition(":")[2].rpartition(".")[2]


def read_value(node: Node) -> Any:
    """Reads plain values out of a node, as JSON has them; tags are passed over, but for choices.

    Numbers are what HyperPyYAML takes for numbers: 1e-3 too, which is a word to PyYAML.

    Example
    -------
    >>> [(_, node)] = compose("steps: !apply:operator.getitem [[20000, 200000], False]")
    >>> read_value(node)
    20000
    """
    if is_choice(node):
        choices, key = map(read_value, node.value)
        return choices[key]
    if isinstance(node, List):
        return [read_value(item) for item in node.value]
    if isinstance(node, Map):
        return {key.value: read_value(item) for key, item in node.value}
    if node.style is not None:  # quoted
        return node.value
    try:
        value = yaml.safe_load(node.value)
    except (ValueError, yaml.YAMLError):  # a date that there is not, or a word to YAML alone
        return node.value
    try:
        return float(value) if isinstance(value, str) else value
    except ValueError:
        return value
