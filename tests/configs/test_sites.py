"""Where settings of batch normalisations hide, and what only looks like one."""

from __future__ import annotations

import pytest
from translations import Format, certain, translated

from porter.configs.names import Named, named
from porter.configs.splices import spliced
from porter.errors import UsageError

# What is one, by the form it has.
SITES = {
    "a typed mapping": ("a: {type: BN3d, momentum: 0.01, eps: 1.0e-3, requires_grad: true}", "a.momentum a.eps"),
    "hydra": ("a: {_target_: torch.nn.BatchNorm3d, _partial_: true, momentum: 0.1}", "a.momentum"),
    "lightning": ("a: {class_path: torch.nn.BatchNorm2d, init_args: {momentum: 0.1}}", "a.init_args.momentum"),
    "kwargs within": ("a: {type: SyncBN, kwargs: {momentum: 0.1}}", "a.kwargs.momentum"),
    "args within": ("a: {name: BN, args: {momentum: 0.1}}", "a.args.momentum"),
    "params within": ("a: {target: torch.nn.BatchNorm3d, params: {eps: 1.0e-3}}", "a.params.eps"),
    "nnU-Net": ("norm_op: torch.nn.BatchNorm3d\nnorm_op_kwargs: {eps: 1.0e-5, affine: true}", "norm_op_kwargs.eps"),
    "norm_type": ("a: {norm_type: batch, norm_kwargs: {momentum: 0.1}}", "a.norm_kwargs.momentum"),
    "norm_layer beside norm_cfg": ("norm_layer: BatchNorm3d\nnorm_cfg: {momentum: 0.1}", "norm_cfg.momentum"),
    "MONAI": ('norm: ["batch", {"momentum": 0.1}]', "norm.1.momentum"),
    "a pair with a class": ('x: [torch.nn.BatchNorm3d, {"momentum": 0.1}]', "x.1.momentum"),
    "norm and its name": ("norm: {name: batch, momentum: 0.1}", "norm.momentum"),
    "prefixed keys": ("a: {bn_momentum: 0.1, BN_EPS: 0.001, bnMom: 0.2}", "a.bn_momentum a.BN_EPS a.bnMom"),
    "long prefixes": ("BATCHNORM_MOMENTUM: 0.1\nbatch_norm_momentum: 0.1", "BATCHNORM_MOMENTUM batch_norm_momentum"),
    "prefixed prefixes": ("backbone_bn_mom: 0.1\nmomentum_bn: 0.1\nsync_bn_eps: 0.1", None),
    "in a list": ("bn_momentum: [0.1, 0.2]", "bn_momentum"),
    "a section": ("BN: {MOMENTUM: 0.1, EPSILON: 0.001, NUM_SPLITS: 1}", "BN.MOMENTUM BN.EPSILON"),
    "a section in small letters": ("batchnorm: {momentum: 0.1}\nbatch_norm: {eps: 0.1}", None),
    "a reference to the arguments": ("b: {momentum: 0.1}\na: {type: BN, kwargs: '${b}'}", "a.kwargs.momentum"),
    "a scalar reference": ("x: 0.1\na: {type: BN3d, momentum: '${x}'}", "a.momentum"),
    "a subclass of the user's": ("a: {type: my.layers.MinkowskiBatchNorm, momentum: 0.1}", "a.momentum"),
}


@pytest.mark.parametrize("form", SITES)
def test_settings_are_found_in(form: str) -> None:
    text, expected = SITES[form]
    found = [path.partition("=")[0] for path in certain(text)]
    if expected is None:
        assert len(found) == text.count("0.1")
    else:
        assert set(expected.split()) <= set(found)
        assert [path for path in found if path.endswith("omentum")] == [
            path for path in expected.split() if path.endswith("omentum")
        ]


@pytest.mark.parametrize(
    "text",
    [
        "optimizer: {type: SGD, lr: 0.1, momentum: 0.9}",
        "momentum: 0.9\nMOMENTUM: 0.9\nsolver: {momentum: 0.9}\nmoco: {momentum: 0.999}",
        "a: {type: IN3d, momentum: 0.1}",
        "a: {_target_: torch.nn.InstanceNorm3d, momentum: 0.1}",
        "norm_op: torch.nn.modules.instancenorm.InstanceNorm3d\nnorm_op_kwargs: {momentum: 0.1}",
        'norm: ["instance", {"momentum": 0.1}]',
        "instance_norm: {momentum: 0.1}\nlayer_norm_momentum: 0.1\nlayer_norm_eps: 1e-5",
        "a: {class_name: BatchNormalization, config: {momentum: 0.99}}",
        "a: {type: tf.keras.layers.BatchNormalization, momentum: 0.99}",
        "a: {type: paddle.nn.BatchNorm3D, momentum: 0.9}",
        "bn_momentum: 'BN or optimizer momentum, default: 0.9'",
        "freeze_bn: true\nBN: {USE_PRECISE_STATS: true}\nnorm: batch",
        "a: {type: Conv3d, norm: BN, momentum: 0.1}",
        "bn: {optimizer: {momentum: 0.9}}",
    ],
)
def test_nothing_else_is_touched(text: str) -> None:
    result, translation = translated(text)
    assert result == text
    assert [*translation.undecided, *translation.needs_person] == []


@pytest.mark.parametrize(
    "text",
    [
        "norm: {momentum: 0.1}",
        "model: {norm_cfg: {momentum: 0.1, eps: 1.0e-3}}",
        "norm_layer: {type: MyNorm, momentum: 0.1}",
        "norm_op_kwargs: {momentum: 0.1}",
        "{name: bn, lr: 0.2, momentum: 0.1}",
        "{norm_type: bn, depth: 50, momentum: 0.1}",
        "norm_momentum: 0.1",
        "batch_normalization_momentum: 0.1",
        "bn_momentums: [0.1]",
        "{type: Conv2dBnAct, has_bn: true, momentum: 0.1}",
        'x: ["batch", {"momentum": 0.1}]',
    ],
)
def test_what_is_plausible_but_not_certain_is_undecided_until_the_user_says(text: str) -> None:
    _, translation = translated(text)
    (undecided,) = translation.undecided
    assert undecided.setting == "momentum"
    line, column = undecided.place
    assert text.splitlines()[line - 1][column - 1 :].startswith("0.1")
    for option, after in zip(undecided.options, (text.replace("0.1", "0.9"), text), strict=True):
        pattern, _, word = option.removeprefix("--setting '").removesuffix("'").partition("=")
        result, translation = translated(text, settings=((pattern, word),))
        assert result == after
        assert not translation.undecided


@pytest.mark.parametrize("text", ["norm: {eps: 1.0e-3}", "norm_cfg: {type: MyNorm, requires_grad: true}"])
def test_what_would_not_change_is_not_asked_for(text: str) -> None:
    assert not translated(text)[1].undecided


PYTHON = {
    "a call": ("import torch.nn as nn\nx = nn.BatchNorm3d(64, 1e-5, 0.1)", "0.1", "0.9"),
    "dict": ("norm_cfg = dict(type='BN3d', momentum=0.01)", "0.01", "0.99"),
    "a prefixed key in a dict": ("model = dict(bn_momentum=0.1)", "0.1", "0.9"),
    "partial": (
        "from functools import partial\nfrom torch import nn\nf = partial(nn.BatchNorm3d, momentum=m)",
        "=m",
        "=1 - m",
    ),
    "a constant that a layer uses": (
        "from torch import nn\nBN_MOMENTUM = 0.1\nf = nn.BatchNorm3d(8, momentum=BN_MOMENTUM)",
        "=BN_MOMENTUM",
        "=1 - BN_MOMENTUM",
    ),
    "a constant that a dict uses": (
        "bn_mom = 0.1\nmodel = dict(bn_mom=bn_mom)",
        "(bn_mom=bn_mom",
        "(bn_mom=1 - bn_mom",
    ),
    "a default that a layer uses": (
        "from torch import nn\ndef f(bn_mom=0.1):\n    return nn.BatchNorm3d(8, momentum=bn_mom)\nf(bn_mom=0.2)",
        "momentum=bn_mom",
        "momentum=1 - bn_mom",
    ),
}


@pytest.mark.parametrize("form", PYTHON)
def test_python_is_changed_where_it_makes_a_layer(form: str) -> None:
    text, before, after = PYTHON[form]
    result, translation = translated(text, "python")
    assert result == text.replace(before, after)
    assert [*translation.undecided, *translation.needs_person] == []


@pytest.mark.parametrize(
    "text",
    [
        "bn_momentum = 0.1",
        "def f(bn_momentum=0.1):\n    g(bn_momentum=bn_momentum)",
        "x = resnet(bn_momentum=0.1)",
        "import torch.nn as nn\ndef f(norm_layer=nn.BatchNorm3d):\n    return norm_layer(8, momentum=0.1)",
    ],
)
def test_what_code_may_compute_with_is_undecided(text: str) -> None:
    result, translation = translated(text, "python")
    assert result == text
    assert len(translation.undecided) == 1


@pytest.mark.parametrize("text", ["opt = torch.optim.SGD(p, momentum=0.9)", "x = nn.InstanceNorm3d(8, momentum=0.1)"])
def test_other_calls_are_none(text: str) -> None:
    text = f"import torch\nfrom torch import nn\n{text}"
    assert translated(text, "python")[0] == text


@pytest.mark.parametrize(
    ("pattern", "text", "after"),
    [
        ("MODEL.NECK.*.MOM", "MODEL: {NECK: [{MOM: 0.1}, {MOM: 0.2}]}", "MODEL: {NECK: [{MOM: 0.9}, {MOM: 0.8}]}"),
        ("**.m", "a: {m: 0.1, b: {m: '0.2'}}", "a: {m: 0.9, b: {m: '0.8'}}"),
    ],
)
def test_the_user_names_settings(pattern: str, text: str, after: str) -> None:
    assert translated(text, settings=((pattern, "momentum"),))[0] == after


def test_the_last_word_counts_and_keep_covers_what_is_below() -> None:
    text = "model: {bn: {momentum: 0.1}, BN: {kwargs: {bn_momentum: 0.1}}}"
    kept, _ = translated(text, settings=(("model.bn", "keep"), ("model.BN", "keep")))
    assert kept == text
    result, _ = translated(text, settings=(("model.**", "keep"), ("model.bn.momentum", "momentum")))
    assert result == text.replace("0.1", "0.9", 1)


@pytest.mark.parametrize(("pattern", "word"), [("a.b", "momentum"), ("bn_momentum", "speed")])
def test_a_word_that_means_nothing_is_refused(pattern: str, word: str) -> None:
    with pytest.raises(UsageError, match=r"matches nothing|no setting"):
        translated("bn_momentum: 0.1", settings=((pattern, word),))


def test_the_same_place_is_found_in_every_format() -> None:
    texts: dict[Format, str] = {
        "json": '{"a": [{"type": "BN3d", "momentum": 0.01}]}',
        "yaml": "a:\n- type: BN3d\n  momentum: 0.01\n",
        "toml": '[[a]]\ntype = "BN3d"\nmomentum = 0.01\n',
        "python": "a = [dict(type='BN3d', momentum=0.01)]",
    }
    for format, text in texts.items():
        result, translation = translated(text, format)
        assert result == text.replace("0.01", "0.99")
        assert [change.path for change in translation.changes] == ["a.0.momentum"]
        assert result == spliced(text, translation.splices)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        *[(name, "batch norm") for name in ("BN", "BN3d", "SyncBN", "naiveSyncBN3d", "MMSyncBN", "sub_batchnorm")],
        *[(name, "batch norm") for name in ("SynchronizedBatchNorm3d", "SYNCBATCH")],
        *[(name, "perhaps") for name in ("mindspore.nn.Conv2dBnAct", "DenseBnAct")],
        *[(name, "batch norm") for name in ("sync_batchnorm", "InPlaceABN", "BatchNormAct2d", "FrozenBatchNorm2d")],
        *[(name, "other") for name in ("IN3d", "GN", "GroupNorm", "LN", "instance", "BatchNormalization")],
        *[(name, "other") for name in ("torch.nn.LazyBatchNorm3d", "mindspore.ops.BatchNorm")],
        *[(name, "unknown") for name in ("SGD", "ConvBN", "IBN", "Conv3d", "BNNeck")],
        ("batch", "perhaps"),
    ],
)
def test_names(name: str, kind: str) -> None:
    assert named(name).kind == kind


def test_a_dotted_name_says_its_framework() -> None:
    assert named("mindspore.mint.nn.BatchNorm3d") == Named("batch norm", "mint", "BatchNorm3d")


@pytest.mark.parametrize(
    ("text", "format"),
    [
        ("{path: torch.nn.BatchNorm3d, momentum: 0.1}", "yaml"),
        ("{_target_: functools.partial, _args_: [torch.nn.BatchNorm3d], momentum: 0.1}", "yaml"),
        ("{norm_layer: torch.nn.BatchNorm3d, momentum: 0.1}", "yaml"),
        ("[torch.nn.BatchNorm3d, 64, {momentum: 0.1}]", "yaml"),
        ("{norm: batchnorm, momentum: 0.1}", "yaml"),
        ("f(class_path='torch.nn.BatchNorm3d', init_args=dict(momentum=0.1))", "python"),
        ("optim: {bn: {momentum: 0.1, nesterov: true}}", "yaml"),
        ("bn_params: {lr: .01, momentum: 0.1, weight_decay: 0}", "yaml"),
        ("optimizer: {bn_momentum: 0.1}", "yaml"),
        ("solver: {norm: {type: BN3d, momentum: 0.1}}", "yaml"),
        ("BatchNorm: {optimizer: sgd, momentum: 0.1}", "yaml"),
        ("bn: {lr: 0.1, momentum: 0.1, nesterov: true, use_precise_stats: false}", "yaml"),
        ("norm: {norm_type: BN, momentum: 0.1, optimizer: SGD, weight_decay: 0.1}", "yaml"),
        ("ema_bn_momentum: 0.1", "yaml"),
    ],
)
def test_what_a_class_or_an_optimizer_beside_it_makes_doubtful_is_asked_for(text: str, format: Format) -> None:
    result, translation = translated(text, format)
    (undecided,) = translation.undecided
    assert undecided.setting == "momentum"
    assert result == text.replace("torch", "mindspore")


@pytest.mark.parametrize("beside", ["USE_PRECISE_STATS: true", "NUM_BATCHES_PRECISE: 9", "NORM_TYPE: batchnorm"])
def test_a_weight_decay_beside_what_only_normalisations_have_is_theirs(beside: str) -> None:
    assert certain(f"BN: {{{beside}, momentum: 0.1, WEIGHT_DECAY: 0.0}}") == ["BN.momentum=momentum"]


@pytest.mark.parametrize("name", ["BNConfig", "BnConfig", "BatchNormConfig", "SyncBNCfg"])
def test_a_class_named_after_batch_normalisations_holds_their_settings(name: str) -> None:
    text = f"class {name}:\n    momentum: float = 0.1\nclass SGDConfig:\n    momentum = 0.9\n"
    assert certain(text, "python") == [f"{name}.momentum=momentum"]


@pytest.mark.parametrize("text", ["{norm: batch, lr: 0.1, momentum: 0.9}", "a: 'uses BatchNorm3d (see the paper)'"])
def test_a_training_beside_a_norm_is_none_of_it(text: str) -> None:
    _, translation = translated(text)
    assert [*translation.undecided, *translation.needs_person] == []


@pytest.mark.parametrize(
    ("text", "format"),
    [
        ('a: "$torch.nn.BatchNorm3d(3, momentum=0.1)"', "yaml"),
        ("a: \"$('batch', {'momentum': 0.1})\"", "yaml"),
        ("a: !!python/object/apply:torch.nn.BatchNorm3d {momentum: 0.1}", "yaml"),
        ("a: !!python/name:torch.nn.BatchNorm3d\n", "yaml"),
        ("norm_layer: BN\nnorm_layer_args: [1e-5, 0.1]", "yaml"),
        ("x = dict(**base, type='BN3d')", "python"),
        ("x = f'BatchNorm3d({n}, momentum={m})'", "python"),
    ],
)
def test_what_may_hold_settings_and_is_not_read_is_told_of(text: str, format: Format) -> None:
    result, translation = translated(text, format)
    assert result == text
    assert len(translation.needs_person) == 1


def test_a_class_behind_a_dollar_is_renamed_and_an_alias_is_told_of() -> None:
    assert translated("a: {_target_: $torch.nn.BatchNorm3d}")[0] == "a: {_target_: $mindspore.nn.BatchNorm3d}"
    result, translation = translated("a: {type: nn.BatchNorm3d, momentum: 0.1}")
    assert result == "a: {type: nn.BatchNorm3d, momentum: 0.9}"
    assert "not renamed" in translation.needs_person[0].text
