"""Checkpoints in several files: an index says which tensor lies in which shard.

    {"metadata": {"total_size": 12345}, "weight_map": {"conv1.weight": "model-00001-of-00002.safetensors", ...}}

The schema of huggingface's `*.safetensors.index.json` and `pytorch_model.bin.index.json`, and of the
`param_name_map.json` that MindSpore writes. An index comes from a stranger: it may name files of its own folder, and
what it says must agree with what each of them says.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from porter.errors import LimitExceeded, Malformed, NotACheckpoint, Unsafe, UsageError
from porter.formats.model import Checkpoint, Extent, StoredTensor, TensorSpec
from porter.formats.strict_json import parse_object

# The indexes of the largest public checkpoints have a few MB.
MAX_INDEX_BYTES = 100_000_000

_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*(?:([KMGT])(I?)B?|B?)", re.ASCII | re.IGNORECASE)
_UNITS = (None, "K", "M", "G", "T")


def recognises(head: bytes, size: int) -> bool:
    """Whether a file of `size` bytes that begins with `head` (4 KiB) is JSON, as an index is.

    The length that a .safetensors begins with may look like a brace, but the upper bytes of a length are NULs.
    """
    return head.lstrip().startswith(b"{") and b"\0" not in head


def read(path: Path, open_shard: Callable[[Path], Checkpoint]) -> Checkpoint:
    """List the tensors of all shards of the index at `path`, in the order of the index.

    Args:
        open_shard: opens a file that holds tensors itself (not an index again).

    Raises:
        NotACheckpoint: JSON that is no index; a shard that is missing.
        Malformed: the index and a shard disagree on which tensors the shard holds; shards of several formats.
        Unsafe: a shard outside of the index's folder.
        LimitExceeded: an index above 100 MB.
        InputError: what opening a shard raises.
    """
    weight_map = _weight_map(path)
    names_in: dict[str, list[str]] = {}
    for name, shard in weight_map.items():
        names_in.setdefault(shard, []).append(name)
    shards = {shard: open_shard(_inside_folder(shard, path)) for shard in names_in}
    for shard, names in names_in.items():
        _compare(names, shards[shard], path)
    return _merge(path, weight_map, shards)


def _weight_map(path: Path) -> dict[str, str]:
    size = path.stat().st_size
    if size > MAX_INDEX_BYTES:
        raise LimitExceeded("too large for an index", file=path, expected=f"{MAX_INDEX_BYTES} bytes", found=size)
    weight_map = parse_object(path.read_bytes(), file=path, what="the index").get("weight_map")
    if weight_map is None:
        raise NotACheckpoint("this is JSON, but no index of a sharded checkpoint", file=path, expected="a weight_map")
    if not isinstance(weight_map, dict) or not all(isinstance(shard, str) for shard in weight_map.values()):
        raise Malformed("the weight_map is not a map from tensor names to file names", file=path)
    if not weight_map:
        raise Malformed("the weight_map is empty", file=path)
    return weight_map


def _inside_folder(shard: str, index: Path) -> Path:
    """The path of a shard.

    A link may lead to where the index itself really lies, as in a download cache that keeps all contents in one
    folder and links to them, but nowhere else.
    """
    if shard in ("", ".", "..") or re.search(r"[/\\\0]", shard):
        raise Unsafe("the index names a shard that is not a plain file name", file=index, entry=shard)
    path = index.parent / shard
    if path.resolve().parent not in (index.parent.resolve(), index.resolve().parent):
        raise Unsafe("the shard is a link out of the index's folder", file=index, entry=shard, found=path.resolve())
    return path


def _compare(names: Sequence[str], shard: Checkpoint, index: Path) -> None:
    absent = next((name for name in names if name not in shard.tensors), None)
    if absent is not None:
        raise Malformed(
            "the index says that the shard holds a tensor, but it does not",
            file=index,
            entry=absent,
            found=shard.path,
        )
    unnamed = next(iter(shard.tensors.keys() - names), None)
    if unnamed is not None:
        raise Malformed(
            "the shard holds a tensor that the index does not place there",
            file=index,
            entry=unnamed,
            found=shard.path,
        )


def _merge(path: Path, weight_map: Mapping[str, str], shards: Mapping[str, Checkpoint]) -> Checkpoint:
    parts = list(shards.values())
    formats = list(dict.fromkeys(part.format for part in parts))
    if len(formats) > 1:
        raise Malformed("the shards are of different formats", file=path, found=", ".join(formats))
    first_file, files = {}, 0
    for shard, part in shards.items():
        first_file[shard] = files
        files += len(part.files)
    frameworks = {part.framework for part in parts}
    versions = [part.versions for part in parts if part.versions is not None]
    return Checkpoint(
        path=path,
        format=f"{formats[0]}-sharded",
        files=tuple(file for part in parts for file in part.files),
        tensors={name: _moved(shards[s].tensors[name], first_file[s]) for name, s in weight_map.items()},
        framework=frameworks.pop() if len(frameworks) == 1 else None,
        checksums=tuple(
            checksum._replace(extent=_shifted(checksum.extent, first_file[shard]))
            for shard, part in shards.items()
            for checksum in part.checksums
        ),
        left_out=tuple(entry for part in parts for entry in part.left_out),
        metadata={key: value for part in parts for key, value in part.metadata.items()},
        versions={name: version for known in versions for name, version in known.items()} if versions else None,
        notes=tuple(dict.fromkeys(note for part in parts for note in part.notes)),
    )


def _moved(tensor: StoredTensor, first_file: int) -> StoredTensor:
    return tensor._replace(extents=tuple(_shifted(extent, first_file) for extent in tensor.extents))


def _shifted(extent: Extent, first_file: int) -> Extent:
    return extent._replace(file=extent.file + first_file)


def split(specs: Sequence[TensorSpec], max_bytes: int) -> list[list[TensorSpec]]:
    """`specs` in groups of at most `max_bytes` of tensor data, order kept; a larger tensor has a group of its own."""
    groups: list[list[TensorSpec]] = [[]]
    filled = 0
    for spec in specs:
        if groups[-1] and filled + spec.nbytes > max_bytes:
            groups.append([])
            filled = 0
        groups[-1].append(spec)
        filled += spec.nbytes
    return groups


def shard_names(name: str, count: int) -> list[str]:
    """File names of `count` shards of a checkpoint called `name`: `model-00001-of-00003.safetensors`, ..."""
    path = Path(name)
    return [f"{path.stem}-{number:05}-of-{count:05}{path.suffix}" for number in range(1, count + 1)]


def is_shard_of(name: str, path: Path) -> bool:
    """Whether `name` is one that `shard_names` gives a checkpoint at `path`."""
    return re.fullmatch(rf"{re.escape(path.stem)}-\d{{5}}-of-\d{{5}}{re.escape(path.suffix)}", name) is not None


def index_json(parts: Mapping[str, Sequence[TensorSpec]]) -> bytes:
    """The index of shards, given as file name -> its tensors."""
    index = {
        "metadata": {"total_size": sum(spec.nbytes for specs in parts.values() for spec in specs)},
        "weight_map": {spec.name: file for file, specs in parts.items() for spec in specs},
    }
    return (json.dumps(index, indent=2, ensure_ascii=False) + "\n").encode()


def parse_size(text: str) -> int:
    """A number of bytes as people write it: `5GB` (10^9), `1GiB` (2^30), `512MB`, `1.5g`, `4096`.

    Raises:
        UsageError: it is no size, or below one byte.
    """
    match = _SIZE.fullmatch(text.strip())
    if match is None:
        raise UsageError("is no size", entry=text, expected="a number with a unit, such as 5GB or 512MiB")
    number, unit, binary = match.groups()
    from fractions import Fraction

    size = int(Fraction(number) * (1024 if binary else 1000) ** _UNITS.index(unit and unit.upper()))
    if size < 1:
        raise UsageError("is no size", entry=text, expected="at least one byte")
    return size
