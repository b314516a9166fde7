"""What the keys and class names in configs mean: which name a batch normalisation, a setting of one, or neither.

The lists come from public configs of 3-D networks (MMDetection, SlowFast, OpenPCDet, MONAI, nnU-Net, timm,
torch-points3d, LightningCLI, Hydra) and of MindSpore's model zoo.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Literal, NamedTuple

from porter.configs.terms import ARGUMENTS, Dialect, class_of

# A config has many entries and few different keys.
_remembered = lru_cache(maxsize=4096)


class Named(NamedTuple):
    """What a class or registry name stands for.

    Attributes:
        kind: "batch norm"; "perhaps": a batch normalisation where norms are named, else any word ("batch");
            "other": certainly none; "unknown".
        dialect: where the name says it; with "other", a framework's own of which no rule knows.
        class_name: the framework's class, "" for a registry name.
    """

    kind: Literal["batch norm", "perhaps", "other", "unknown"]
    dialect: Dialect | None = None
    class_name: str = ""


# BN, BN3d, SyncBN, naiveSyncBN3d, sub_batchnorm, InPlaceABN, FrozenBatchNorm2d, BatchNormAct2d, MinkowskiBatchNorm.
# Keras' BatchNormalization is none of them: its momentum is its own.
_BATCH_NORM = re.compile(
    r"(?:mm|naive)?(?:sync|synchronized|cross|sub|split|ghost|frozen|lazy|fast|masked|minkowski|minkowskisync|inplace)?"
    r"(?:a?bn|batchnorm)(?:act)?(?:[123]d)?(?:sync)?|syncbatch"
)
# MindSpore's Conv2dBnAct and DenseBnAct take a momentum for the batch normalisation inside of them.
_AROUND = re.compile(r"(?:conv[123]d|dense|linear)bn.*act")
_OTHER_NORM = re.compile(
    r".*(?:instance|group|layer|local|rms|weight|spectral|filterresponse)_?norm(?:alization)?.*"
    r"|(?:in|gn|ln|frn|lrn)(?:[123]d)?|instance|group|layer|local|none|identity|keras.*|batchnormalization"
)
# Packages whose batch normalisation is neither framework's.
_FOREIGN = re.compile(r"(?:tensorflow|tf|keras|flax|haiku|jax|paddle|mxnet|jittor)\..*")


@_remembered
def named(name: str) -> Named:
    """What the class or registry name `name` stands for.

    >>> named("torch.nn.BatchNorm3d"), named("BN3d").kind, named("IN3d").kind
    (Named(kind='batch norm', dialect='torch', class_name='BatchNorm3d'), 'batch norm', 'other')
    """
    known = class_of(name)
    if known:
        return Named("batch norm", *known)
    last = re.sub(r"[_-]", "", name.rpartition(".")[2].lower())
    if _FOREIGN.fullmatch(name) or _OTHER_NORM.fullmatch(last):
        return Named("other")
    if _BATCH_NORM.fullmatch(last):
        # torch.nn.LazyBatchNorm3d has no counterpart, mindspore.ops.BatchNorm a momentum of PyTorch's sense.
        package = name.partition(".")[0]
        if package in ("torch", "mindspore"):
            return Named("other", "torch" if package == "torch" else "mindspore")
        return Named("batch norm")
    return Named("perhaps" if last == "batch" or _AROUND.fullmatch(last) else "unknown")


# What calls one, or pairs its name with settings; not "BatchNorm (see the paper)".
_CODE = re.compile(
    r"(?P<class>[\w.]*\w*(?:BatchNorm|BatchNorm[123]d|SyncBN|BN[123]d))\("
    r"|\$.*['\"](?:batch|syncbatch)['\"]",
    re.DOTALL | re.IGNORECASE,
)


def in_code(text: str) -> Named | None:
    """The batch normalisation that a text makes by code in it: `$torch.nn.BatchNorm3d(3, momentum=0.1)`."""
    match = _CODE.search(text)
    if not match:
        return None
    return named(match["class"] or "batch")


def snake(key: str) -> str:
    """`key` in lower case with underscores: bnMomentum, BNMomentum, BN-MOMENTUM and BN_MOMENTUM are bn_momentum."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z]{2})(?=[A-Z][a-z])", "_", key).replace("-", "_").lower()


# Keys whose value names a layer's class, the surest first.
_CLASS_KEYS = (
    *("target", "class_path", "type", "class", "class_name", "cls", "norm_type", "norm_name", "layer_type", "op"),
    *("module", "name"),
)
# From here on they may stand beside settings of other things: a whole model's, or those of an experiment called bn.
FIRST_VAGUE_RANK = _CLASS_KEYS.index("norm_type")


@_remembered
def class_key_rank(key: str) -> int | None:
    """How sure it is that `key` holds the class of what its mapping describes, 0 surest; None where it does not."""
    bare = snake(key).strip("_")
    return _CLASS_KEYS.index(bare) if bare in _CLASS_KEYS else None


_ARGUMENT_KEYS = re.compile(r"_*(?:kwargs|args|params|parameters|arguments|init_args|cfg|config|opts|options)_*")


@_remembered
def holds_arguments(key: str) -> bool:
    """Whether `key` beside a class holds the class's arguments."""
    return _ARGUMENT_KEYS.fullmatch(snake(key)) is not None


@_remembered
def partners(key: str) -> tuple[str, ...]:
    """The keys, in snake case, that name the class whose arguments the mapping under `key` holds.

    >>> partners("norm_op_kwargs")[0]
    'norm_op'
    """
    match = re.fullmatch(rf"(.+?)_({_ARGUMENT_KEYS.pattern})", snake(key))
    if not match:
        return ()
    stem = match[1]
    return (stem, *(f"{stem}_{end}" for end in ("layer", "type", "name", "op", "class", "cls", "fn", "func")))


_BN = r"(?:sync_?|in_?place_?)?(?:a?bn|batch_?norm)(?:_?[1-9]d?)?"
_SHORT = {"mom": "momentum", "mmt": "momentum", "epsilon": "eps"}
_WORDS = (
    rf"(?P<setting>{'|'.join([*_SHORT, 'momentum', 'eps', 'affine', 'track_running_stats'])}|use_batch_statistics)"
)
_PREFIXED = re.compile(rf"(?:.*[_.])?{_BN}[_.]?{_WORDS}|{_WORDS.replace('setting', 'first')}_{_BN}")
# batch_normalization is Keras' name, whose momentum is in MindSpore's sense, and anybody's.
_PERHAPS_PREFIXED = re.compile(
    rf"(?:.*[_.])?(?:(?<!layer_)(?<!group_)(?<!instance_)norm_(?:momentum|mom)"
    rf"|batch_normalization_(?:momentum|mom)|{_BN}_(?:momentums|moms))"
)
_SECTION = re.compile(rf"(?:.*_)?{_BN}(?:_(?:settings|defaults?|{_ARGUMENT_KEYS.pattern}))?")
_NORM = re.compile(
    rf"(?:.*_)?norm(?:s|alization|[123]d)?(?:_(?:layer|op|func|fn|type|block|{_ARGUMENT_KEYS.pattern}))*"
)
_OPTIMIZER = re.compile(r".*(?:optim|solver|sgd|adam|rmsprop|moco|teacher|sched).*|(?:.*_)?ema(?:_.*)?")
_OPTIMIZERS = re.compile(r"lr|learning_rate|weight_decay|wd|nesterov|dampening|betas|optim|optimizer|solver")
# SlowFast's and other projects' words beside a momentum that no optimizer has.
_NORMALISES = re.compile(
    r".*_?precise(?:_.*)?|norm_type|affine|track_running_stats|use_batch_statistics|num_features"
)
_SCHEDULE = re.compile(
    r"bnm?_(?:mom(?:entum)?_)?(?:clip|decay|decay_rate|min|max|init|initial|start|final|end|scheduler?)"
)


@_remembered
def plain_setting(key: str) -> str | None:
    """The setting that `key` names inside a place that is a batch normalisation's: MOMENTUM, mom, EPSILON."""
    words = snake(key)
    words = _SHORT.get(words, words)
    return words if words in ARGUMENTS else None


@_remembered
def prefixed_setting(key: str) -> str | None:
    """The setting that `key` names by itself: bn_momentum, BN_MOM, batch_norm_eps, momentum_bn."""
    match = _PREFIXED.fullmatch(snake(key))
    if not match:
        return None
    words = match["setting"] or match["first"]
    return _SHORT.get(words, words)


@_remembered
def perhaps_prefixed(key: str) -> bool:
    """Whether `key` is the momentum of some norm, most likely a batch normalisation's: norm_momentum."""
    return _PERHAPS_PREFIXED.fullmatch(snake(key)) is not None


@_remembered
def is_section(key: str) -> bool:
    """Whether a mapping under `key` describes batch normalisations: BN, batchnorm, bn_cfg."""
    return _SECTION.fullmatch(snake(key)) is not None


@_remembered
def names_norms(key: str) -> bool:
    """Whether what stands under `key` describes some normalisation: norm, norm_cfg, norm_layer."""
    return _NORM.fullmatch(snake(key)) is not None and not names_others(key)


@_remembered
def is_optimizer(key: str) -> bool:
    """Whether `key` is an optimizer, or an average of weights, which have a momentum of their own."""
    return _OPTIMIZER.fullmatch(snake(key)) is not None


@_remembered
def is_optimizers(key: str) -> bool:
    """Whether `key` is an argument of optimizers, or one itself, in a place that says nothing else."""
    return _OPTIMIZERS.fullmatch(snake(key)) is not None


@_remembered
def is_weight_decay(key: str) -> bool:
    """Whether `key` is a weight decay, which some projects give their normalisations, too."""
    return snake(key) in ("weight_decay", "wd")


@_remembered
def normalises(key: str) -> bool:
    """Whether `key` is an argument of normalisations that no optimizer has: NORM_TYPE, USE_PRECISE_STATS, affine."""
    return _NORMALISES.fullmatch(snake(key)) is not None


@_remembered
def names_others(key: str) -> bool:
    """Whether what stands under `key` has a momentum of its own: another normalisation, an optimizer."""
    return is_optimizer(key) or re.fullmatch(_OTHER_NORM, re.sub("_", "", snake(key))) is not None


_DEFINITION = re.compile(rf"(?:.*_)?(?:mom|momentum|mmt|{_BN}|eps|epsilon|affine|stats)(?:_.*)?|ref|value|default")


@_remembered
def defines_a_value(key: str) -> bool:
    """Whether `key` is a name that a value gets for others to refer to, no use of it: my_mom, ref."""
    return _DEFINITION.fullmatch(snake(key)) is not None


@_remembered
def schedules_momentum(key: str) -> bool:
    """Whether `key` is a number by which code changes bn_momentum while it trains: bn_decay, bnm_clip."""
    return _SCHEDULE.fullmatch(snake(key)) is not None
