"""What a config says of the layers of a checkpoint: the values of its settings, and whose they are.

A config seldom names layers. Where it says one value of a setting everywhere, that is every batch normalisation's.
Where it says several, its paths are read beside the layers' names: what stands at `model.backbone.norm_cfg` is said
of the layers below `backbone`, and of several places that speak of a layer the most specific one counts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence, Set
from dataclasses import dataclass, replace

from porter.configs.model import Setting, Site
from porter.configs.names import holds_arguments, is_section, names_norms, snake
from porter.configs.references import Path, decimal_of, is_number
from porter.configs.terms import TERMS, TRACK, USE_BATCH, Dialect, inverted
from porter.configs.tree import DEEPEST, Document, Mapping, Node, Place, Scalar
from porter.layers.settings import Value

# More nodes than any config that a person wrote has.
_MOST_NODES, _MOST_ALIASES = 20_000, 100


@dataclass(frozen=True)
class Said:
    """One value that a config gives to a setting.

    Attributes:
        setting: the field of `porter.layers.settings.Settings`.
        value: as that field, in PyTorch's terms.
        text: as it is written.
        path: keys and list indexes down to it.
        place: of the value in the file.
    """

    setting: str
    value: Value
    text: str
    path: Path
    place: Place


@dataclass(frozen=True)
class Unsaid:
    """A setting whose value no reading of the config tells: it is computed, or stands elsewhere.

    Attributes:
        setting: the field of `porter.layers.settings.Settings`.
        text: as it is written.
        path: keys and list indexes down to it.
        place: of the value in the file.
    """

    setting: str
    text: str
    path: Path
    place: Place


def values_in(document: Document, sites: Iterable[Site], terms: Callable[[Site], Dialect]) -> Iterator[Said]:
    """Every value that places in a config say, in order, and once more for each alias of such a place.

    Args:
        document: the config.
        sites: the places.
        terms: whose terms a site is in.

    What is computed when the config is used says nothing here, but for the constants of a Python file.
    """
    paths, sites = _paths(document), list(sites)
    own = {(id(site.node), site.path) for site in sites}
    for site in sites:
        aliases = paths.get(id(site.node), ())[:_MOST_ALIASES]
        others = [path for path in aliases if (id(site.node), path) not in own]
        for setting in site.settings:
            for scalar in setting.values:
                meant = document.constant(scalar) or scalar
                known = _value(setting, meant, terms(site))
                if known:
                    one = Said(*known, meant.text, setting.path, document.place(scalar.span.start))
                    yield one
                    yield from (replace(one, path=(*path, *setting.path[len(site.path) :])) for path in others)


def unsaid_in(document: Document, sites: Iterable[Site], terms: Callable[[Site], Dialect]) -> Iterator[Unsaid]:
    """The settings of which `values_in`, given the same, does not yield every value."""
    for site in sites:
        for setting in site.settings:
            name = _FIELDS.get(setting.name)
            missed = [s for s in setting.values if not _value(setting, document.constant(s) or s, terms(site))]
            if name and (missed or setting.problem):
                written = setting.entry.value.span
                start, end = missed[0].span if missed else written
                place = document.place(start)
                yield Unsaid(name, " ".join(document.text[start:end].split()), setting.path, place)


_FIELDS = {"eps": "eps", "momentum": "momentum", "affine": "affine", TRACK: "statistics", USE_BATCH: "statistics"}


def _paths(document: Document) -> dict[int, list[Path]]:
    """Every path at which a mapping stands, by the mapping's id; not all of them in a file that repeats itself."""
    found: dict[int, list[Path]] = {}
    waiting: list[tuple[Path, Node]] = [((root.name,) if root.name else (), root.node) for root in document.roots]
    for _ in range(_MOST_NODES):
        if not waiting:
            break
        path, node = waiting.pop()
        if isinstance(node, Scalar) or len(path) > DEEPEST:
            continue
        found.setdefault(id(node), []).append(path)
        if isinstance(node, Mapping):
            waiting += [((*path, entry.name), entry.value) for entry in reversed(node.entries)]
        else:
            waiting += [((*path, str(index)), item) for index, item in reversed([*enumerate(node.items)])]
    return found


def _value(setting: Setting, scalar: Scalar, terms: Dialect) -> tuple[str, Value] | None:
    """The field and its value in PyTorch's terms; None where it is no value, or one that the field cannot have."""
    flag = scalar.value if scalar.value is None or isinstance(scalar.value, bool) else "other"
    if setting.name == "eps" and is_number(scalar):
        return "eps", float(str(scalar.value))
    if setting.name == "momentum":
        text = decimal_of(scalar)
        if text is not None:
            return "momentum", float(inverted(text) if TERMS[terms].inverted else text)
        return ("momentum", None) if scalar.value is None else None
    if setting.name == "affine" and isinstance(flag, bool):
        return "affine", flag
    if setting.name == TRACK and isinstance(flag, bool):
        return "statistics", "tracked" if flag else "batch"
    if setting.name == USE_BATCH and flag != "other":
        return "statistics", "tracked" if flag is None else "batch" if flag else "frozen"
    return None


def of_layers(said: Sequence[Said], names: Sequence[str]) -> dict[str, dict[str, list[Said]]]:
    """What is said of each layer.

    Args:
        said: of a config, in order.
        names: the layers, by their dotted paths.

    Returns:
        Layer -> setting -> what is said of it: one, or several with different values where nothing tells which is
        the layer's. What no place speaks of is missing.
    """
    levels = {name: tuple(snake(level) for level in name.split(".")) for name in names}
    pairs = {pair for path in levels.values() for pair in zip(("", *path), path, strict=False)}
    found: dict[str, dict[str, list[Said]]] = {name: {} for name in names}
    for setting in dict.fromkeys(one.setting for one in said):
        claims = [one for one in said if one.setting == setting]
        scopes = [_scope(one.path, pairs) for one in claims]
        for name, path in levels.items():
            about = _about(path, claims, scopes)
            if about:
                found[name][setting] = about
    return found


@dataclass(frozen=True)
class _Scope:
    """The levels of a config's path that may be levels of layers' names.

    Attributes:
        around: those that a layer must have, in this order, to be spoken of.
        within: those at and below the first key that describes a normalisation, such as `bn1` or `norm`: a layer
            that has them is meant more than others.
    """

    around: tuple[str, ...]
    within: tuple[str, ...]

    def fits(self, levels: tuple[str, ...]) -> int | None:
        """How many levels are also those of a layer; None where the layer lies elsewhere."""
        at = _after(self.around, levels)
        if at is None:
            return None
        rest, count = levels[at:], len(self.around)
        for level in self.within:
            if level in rest:
                rest, count = rest[rest.index(level) + 1 :], count + 1
        return count


def _scope(path: Path, pairs: Set[tuple[str, str]]) -> _Scope:
    """The scope of what stands at `path`.

    Args:
        pairs: every level of a layer's name with the one before it.
    """
    known = {level for _, level in pairs}
    described = next((i for i, key in enumerate(path) if _describes_norms(key)), len(path))
    scope: list[tuple[str, bool]] = []
    for index, key in enumerate(map(snake, path)):
        # A list index is a module's only behind the list that is a module: `blocks.0`, but not `norm.1`.
        before = scope[-1][0] if scope and snake(path[index - 1]) == scope[-1][0] else None
        is_known = (before, key) in pairs if key.isdecimal() else key in known
        if is_known:
            scope.append((key, index < described))
    return _Scope(tuple(key for key, is_around in scope if is_around), tuple(key for key, a in scope if not a))


def _describes_norms(key: str) -> bool:
    return names_norms(key) or is_section(key) or holds_arguments(key)


def _after(wanted: tuple[str, ...], levels: tuple[str, ...]) -> int | None:
    """The place behind the last of `wanted`, which all stand in `levels` in this order; None where they do not."""
    at = 0
    for level in wanted:
        if level not in levels[at:]:
            return None
        at = levels.index(level, at) + 1
    return at


def _about(levels: tuple[str, ...], claims: Sequence[Said], scopes: Sequence[_Scope]) -> list[Said]:
    """The most specific claims about a layer, one for each value; all claims where they agree."""
    if len({one.value for one in claims}) == 1:
        return [claims[0]]
    fitting = [
        (one, count) for one, scope in zip(claims, scopes, strict=True) if (count := scope.fits(levels)) is not None
    ]
    best = max((count for _, count in fitting), default=0)
    nearest: dict[Value, Said] = {}
    for one, count in fitting:
        if count == best:
            nearest.setdefault(one.value, one)
    return list(nearest.values())
