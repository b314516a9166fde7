"""Model source and Python configs, translated whole."""

from __future__ import annotations

import ast
import importlib.util
import shlex
import tokenize
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from porter.configs.changes import Translation
from porter.configs.terms import Dialect
from tests.configs.translations import translated

MODEL = """\
import torch
import torch.nn as nn
from functools import partial
from torch.nn import BatchNorm3d as BN, SyncBatchNorm

BN_MOMENTUM = 0.1  # used by the calls below: it stays
KW = dict(momentum=0.01, eps=1e-3)
norm_op_kwargs = {'eps': 1e-5, 'momentum': 0.3}  # beside no class


class Own(torch.nn.BatchNorm3d):
    def __init__(self, c, momentum=0.3):
        super().__init__(c, 1e-5, momentum)


class UNet(nn.Module):
    def __init__(self, c, bn_mom=0.1, track=True):
        self.a = nn.BatchNorm3d(c, (1e-5), momentum=bn_mom)
        self.b = torch.nn.BatchNorm3d(c, 1e-5, 0.1, True, track)
        self.c = nn.Sequential(nn.Conv3d(1, c, 3), BN(c, momentum=1 - BN_MOMENTUM))
        self.d = [BN(c, **KW), Own(c, momentum=0.2)]
        self.e = partial(nn.BatchNorm3d, momentum=min(0.5, bn_mom), track_running_stats=False)
        self.f = nn.InstanceNorm3d(c, momentum=0.3, track_running_stats=True)
        self.g = torch.optim.SGD(self.parameters(), momentum=0.9)
"""
CHANGED = {
    "KW = dict(momentum=0.01, eps=1e-3)": "KW = dict(momentum=0.99, eps=1e-3)",
    "from torch.nn import BatchNorm3d as BN": "from mindspore.nn import BatchNorm3d as BN",
    "class Own(torch.nn.BatchNorm3d)": "class Own(mindspore.nn.BatchNorm3d)",
    "super().__init__(c, 1e-5, momentum)": "super().__init__(c, 1e-5, 1 - momentum)",
    "(1e-5), momentum=bn_mom": "(1e-5), momentum=1 - bn_mom",
    "torch.nn.BatchNorm3d(c, 1e-5, 0.1, True, track)": (
        "mindspore.nn.BatchNorm3d(c, 1e-5, 0.9, True, use_batch_statistics=None if track else True)"
    ),
    "momentum=1 - BN_MOMENTUM": "momentum=BN_MOMENTUM",
    "momentum=min(0.5, bn_mom)": "momentum=1 - min(0.5, bn_mom)",
    "track_running_stats=False": "use_batch_statistics=True",
}


def test_a_model_changes_where_it_makes_batch_norms() -> None:
    expected = MODEL
    for before, after in CHANGED.items():
        assert expected.count(before) == 1
        expected = expected.replace(before, after)
    result, translation = translated(MODEL, "python", from_=None)
    assert result == expected
    assert [note.text for note in translation.notes] == [
        "`import torch` still names PyTorch; what was changed needs `import mindspore`",
        "`import torch.nn as nn` still names PyTorch",
        "bn_mom became 1 - bn_mom: bn_mom stays as it is where other files set it",
    ]
    assert not translation.needs_person


@pytest.mark.parametrize(
    "line",
    [
        "def f(norm_layer=nn.BatchNorm3d):\n    return norm_layer(8, momentum=0.2)",
        "bn_momentum = 0.1",
        "def f(bn_momentum=0.1):\n    return bn_momentum",
        "class N:\n    def f(self):\n        self.bn_momentum = 0.1",
        "KW = dict(momentum=0.1)\na = nn.BatchNorm3d(8, **KW)\nb = nn.InstanceNorm3d(8, **KW)",
    ],
)
def test_what_code_may_use_otherwise_is_undecided(line: str) -> None:
    text = f"import torch.nn as nn\n{line}\n"
    result, translation = translated(text, "python")
    assert len(translation.undecided) == 1
    assert all(option.startswith("--setting '") for option in translation.undecided[0].options)
    assert result == text


@pytest.mark.parametrize(
    "text",
    [
        # A name that a layer uses says nothing of the same name elsewhere.
        "class C:\n    bn_momentum: float = 0.1\ndef f(args):\n    bn_momentum = args.bn_momentum",
        "def f(bn_momentum):\n    nn.BatchNorm3d(8, momentum=bn_momentum)\nthird_party.Net(bn_momentum=0.2)",
        "def f(bn_momentum):\n    nn.BatchNorm3d(8, momentum=bn_momentum)\ndef g(bn_momentum=0.2): pass",
        "bn_momentum = 0.1\ndef f(bn_momentum):\n    nn.BatchNorm3d(8, momentum=bn_momentum)",
        "class A:\n    def f(self):\n        self.bn_mom = 0.1\n"
        "class B:\n    def f(self, m):\n        self.bn_mom = m\n        nn.BatchNorm3d(8, momentum=self.bn_mom)",
    ],
)
def test_a_use_of_a_name_settles_its_own_bindings_alone(text: str) -> None:
    result, translation = translated(f"from torch import nn\n{text}\n", "python")
    assert len(translation.undecided) == 1
    assert [change.setting for change in translation.changes] == ["momentum"] * text.count("BatchNorm3d(")
    assert ast.parse(result)


@pytest.mark.parametrize(
    "text",
    [
        "def f(bn_mom=0.1):\n    x = 2 * bn_mom\n    return nn.BatchNorm3d(8, momentum=x)\nf(0.2)\nf(bn_mom=0.3)",
        "class N:\n    def __init__(self, c, bn_mom=0.1):\n        self.bn_mom = bn_mom\n"
        "    def f(self): return nn.BatchNorm3d(8, momentum=self.bn_mom)\n"
        "class M(N):\n    def __init__(self):\n        super().__init__(8, bn_mom=0.2)\nN(8, 0.3)\nN(8, bn_mom=0.3)",
        "class N:\n    bn_mom: float = 0.1\n    def f(self): return nn.BatchNorm3d(8, momentum=self.bn_mom)",
        "class N:\n    def a(self, bn_mom): return nn.BatchNorm3d(8, 1e-5, bn_mom)\n"
        "    def b(self, bn_mom=0.1): return self.a(bn_mom=bn_mom)\nclass O(N): pass",
        "norm_momentum = 0.01\nmodel = dict(norm_cfg=dict(type='BN3d', momentum=norm_momentum))",
    ],
)
def test_what_feeds_a_layers_expression_stays(text: str) -> None:
    text = f"from torch import nn\n{text}\n"
    result, translation = translated(text, "python")
    assert not translation.undecided
    assert len(translation.changes) == 1
    assert result.replace("1 - ", "") == text


DOUBLED = {
    "an attribute": "_C = CN()\n_C.BN = CN()\n_C.BN.MOMENTUM = 0.1\n{}(3, momentum=cfg.BN.MOMENTUM)",
    "items": "cfg = {{'bn': {{'momentum': 0.1}}}}\n{}(3, momentum=cfg['bn']['momentum'])",
    "an item": "norm_cfg = dict(type='BN3d', momentum=.1)\n{}(3, momentum=norm_cfg['momentum'])",
    "a lookup": "norm_cfg = dict(type='BN3d', momentum=.1)\n{}(3, momentum=norm_cfg.get('momentum', 0.1))",
    "by way of a variable": "cfg = dict(bn_momentum=.1)\nm = cfg.bn_momentum\n{}(3, 1e-5, m / 2)",
    "given twice": "kw = dict(momentum=.1)\n{0}(3, **kw)\n{0}(3, momentum=kw['momentum'])",
}


@pytest.mark.parametrize("form", DOUBLED)
def test_what_would_be_translated_twice_is_asked_for(form: str) -> None:
    text = "import torch\n" + DOUBLED[form].format("torch.nn.BatchNorm3d") + "\n"
    _, translation = translated(text, "python")
    (reading, word), (written, other) = _options(translation)
    assert word == other == "keep"
    for settled in (reading, written):
        result, translation = translated(text, "python", settings=((settled, "keep"),))
        assert not translation.undecided
        assert ("1 - " in result) is (settled == written)
        assert (".9" in result) is (settled == reading)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("M = .1\n{}(3, momentum=M)", "M"),
        ("def f(m=.1):\n    {}(3, momentum=m)", "f.m"),
        (
            "class N:\n    def __init__(self, m=.1):\n        self.m = m\n        {}(3, momentum=self.m)",
            "N.__init__.m",
        ),
        ("m = .1\nmodel = dict(norm_cfg=dict(type='BN3d', momentum=m))", "m"),
        ("class C:\n    bn_mom: float = .1\ndef f(cfg):\n    {}(3, momentum=cfg.bn_mom)", "C.bn_mom"),
        ("M = .1\nclass C:\n    bn_mom = M\ndef f(cfg):\n    {}(3, momentum=cfg.bn_mom)", "M"),
        ("M = .1\nc = Config(bn_mom=M)\n{}(3, momentum=c.bn_mom)", "M"),
    ],
)
def test_what_the_user_calls_a_momentum_is_not_translated_twice(text: str, told: str) -> None:
    text = f"import torch\n{text.format('torch.nn.BatchNorm3d')}\n"
    said = (told, "momentum")
    _, translation = translated(text, "python", settings=(said,))
    (reading, _), (written, _) = _options(translation)
    assert written == told
    result, translation = translated(text, "python", settings=(said, (reading, "keep")))
    assert not translation.undecided
    assert result.replace("mindspore", "torch") == text.replace("= .1", "= .9").replace("=.1", "=.9")
    result, translation = translated(text, "python", settings=(said, (told, "keep")))
    assert not translation.undecided
    assert ".1" in result
    assert "1 - " in result


@pytest.mark.parametrize(
    "call",
    [
        "ConfigDict(type='BN3d', momentum=.1)",
        "OrderedDict(type='BN3d', momentum=.1)",
        "dict(dict(type='BN3d'), momentum=.1)",
        "ConfigDict({'type': 'BN3d', 'momentum': .1})",
        "OrderedDict({'type': 'BN3d'}, **{'momentum': .1})",
        "A(3, momentum=.1)",
    ],
)
def test_other_ways_to_write_a_mapping_or_a_layer(call: str) -> None:
    head = "from collections import OrderedDict\nfrom functools import partial\nfrom mmengine import ConfigDict\n"
    head += "from torch import nn\nA = partial(nn.BatchNorm3d, momentum=.2)\n"
    result, translation = translated(f"{head}x = {call}\n", "python")
    assert result == f"{head}x = {call}\n".replace("=.1", "=.9").replace("': .1", "': .9").replace("=.2", "=.8")
    assert not translation.undecided


def test_a_class_is_renamed_wherever_it_is_written_in_full() -> None:
    text = "import torch\nB = torch.nn.BatchNorm3d if x else torch.nn.BatchNorm2d\nB(3, momentum=.1)\n"
    result, _ = translated(text, "python")
    assert result == text.replace("torch.nn", "mindspore.nn").replace("=.1", "=.9")


@pytest.mark.parametrize(
    "call",
    ["F.batch_norm(x, a, b, momentum=.1)", "nn.functional.batch_norm(x, a, b)", "nn.LazyBatchNorm3d(momentum=.2)"],
)
@pytest.mark.parametrize("to", ["mindspore", "torch"])
def test_a_batch_norm_without_a_counterpart_is_listed(call: str, to: Dialect) -> None:
    text = f"from torch import nn\nfrom torch.nn import functional as F\ny = {call}\n"
    result, translation = translated(text, "python", to=to, from_=None)
    assert result == text
    assert [remark.place.line for remark in translation.needs_person] == ([3] if to == "mindspore" else [])


def _options(translation: Translation) -> list[tuple[str, str]]:
    """What is offered, as a shell and the command line read it."""
    offered = [shlex.split(option)[1] for each in translation.undecided for option in each.options]
    return [(pattern, word) for pattern, _, word in (each.rpartition("=") for each in offered)]


def test_what_is_offered_is_heard_of_one_place_alone() -> None:
    body = "def f(norm=nn.BatchNorm3d):\n    norm(3, momentum=0.1)\n    norm(4, momentum=0.2)\n"
    rest = "    momentum = 0.3\n    momentum = 0.4\n    return torch.optim.SGD(p, momentum=0.9)\n"
    text = f"import torch\nimport torch.nn as nn\n{body}{rest}"
    _, translation = translated(text, "python")
    patterns = _options(translation)
    assert patterns == [
        ("f.norm()@4.momentum", "momentum"),
        ("f.norm()@4.momentum", "keep"),
        ("f.norm()@5.momentum", "momentum"),
        ("f.norm()@5.momentum", "keep"),
    ]
    result, _ = translated(text, "python", settings=(patterns[0], patterns[3], ("f.momentum#2", "momentum")))
    assert result == text.replace("=0.1", "=0.9").replace("= 0.4", "= 0.6")


@pytest.mark.parametrize(
    "line",
    [
        "momentum = 0.9",
        "def batch_norm(x, momentum=0.1): return x",
        "optimizer = torch.optim.SGD(p, lr=0.1, momentum=0.9)",
        "a = torch.nn.InstanceNorm3d(8, momentum=0.1)",
        "a = torch.nn.GroupNorm(8, 8, eps=1e-3)",
        "a = F.batch_norm(x, m, v, momentum=0.1)",
        "'''torch.nn.BatchNorm3d(8, momentum=0.1)'''",
        "# torch.nn.BatchNorm3d(8, momentum=0.1)",
        "assert x, 'bn_momentum=0.1'",
        "from mine import BatchNormish\na = BatchNormish(8, momentum=0.1)",
        "def BatchNorm3d(c, momentum): pass\na = BatchNorm3d(8, momentum=0.1)",
    ],
)
def test_what_is_no_batch_norm_stays(line: str) -> None:
    text = f"import torch\nimport torch.nn.functional as F\n{line}\n"
    result, translation = translated(text, "python")
    assert result == text
    assert not translation.changes
    assert not translation.undecided


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("_C = CN()\n_C.BN = CN()\n_C.BN.MOMENTUM = 0.1\n_C.SOLVER.MOMENTUM = 0.9", "_C.BN.MOMENTUM = 0.9"),
        ("net = UNet(norm=('batch', {'momentum': 0.1}))", "{'momentum': 0.9}"),
        ("net = UNet(norm_op=nn.BatchNorm3d, norm_op_kwargs={'momentum': 0.1})", "{'momentum': 0.9}"),
        ("bn = {'class': nn.BatchNorm3d, 'momentum': 0.1}", "'momentum': 0.9"),
        ("bn = dict(_target_='torch.nn.BatchNorm3d', momentum=0.1)", "='mindspore.nn.BatchNorm3d', momentum=0.9)"),
    ],
)  # fmt: skip
def test_configs_in_python_hold_settings_like_any_other(before: str, after: str) -> None:
    result, translation = translated(f"import torch.nn as nn\n{before}\n", "python")
    assert after in result
    assert "SOLVER" not in result or "_C.SOLVER.MOMENTUM = 0.9" in result
    assert not translation.undecided


def test_both_branches_are_translated() -> None:
    text = "if x:\n    n = dict(type='BN', momentum=0.1)\nelse:\n    n = dict(type='BN3d', momentum=0.2)\n"
    result, _ = translated(text, "python")
    assert result == text.replace("0.1", "0.9").replace("0.2", "0.8")


MOMENTA = st.sampled_from(
    ["0.1", "0.10", ".25", "1e-2", "0.997", "m", "1 - m", "2 * m", "f(m, 0.5)", "(m)", "0.5 + m"]
)
FLAGS = st.sampled_from(["True", "False", "t", "not t", "(t or u)"])
BLANKS = st.sampled_from(["", " ", "\n    ", "  # note, 0.1)\n", "\r\n  "])


@st.composite
def layers(draw: st.DrawFn) -> str:
    """One call of a batch normalisation, written in any way."""
    values = ["8", "1e-5", draw(MOMENTA), draw(st.sampled_from(["True", "a"])), draw(FLAGS)]
    names = ["num_features", "eps", "momentum", "affine", "track_running_stats"]
    positional = draw(st.integers(0, 5))
    keywords = [f"{name}={value}" for name, value in zip(names, values, strict=True)][positional:]
    kept = draw(st.permutations(draw(st.lists(st.sampled_from(keywords), unique=True)) if keywords else []))
    arguments = "".join(f"{draw(BLANKS)}{part}{draw(BLANKS)}," for part in [*values[:positional], *kept])
    callee = draw(st.sampled_from(["torch.nn.BatchNorm3d", "nn.BatchNorm3d", "BN", "alias"]))
    shape = draw(st.sampled_from(["{}", "[{}]", "call({}, momentum=0.9)", "{{'norm': {}}}", "({} if t else None)"]))
    return shape.format(f"{callee}({arguments.removesuffix(',') if draw(st.booleans()) else arguments})")


HEAD = "import torch\nimport torch.nn as nn\nfrom torch.nn import BatchNorm3d as BN\nalias = nn.BatchNorm3d\n"


class Expected(ast.NodeTransformer):
    """The translation to MindSpore, made of the syntax tree: what `ast` has to see of the result."""

    def visit_Call(self, node: ast.Call) -> ast.Call:
        self.generic_visit(node)
        if ast.unparse(node.func) not in ("mindspore.nn.BatchNorm3d", "nn.BatchNorm3d", "BN", "alias"):
            return node
        if len(node.args) == 5:
            node.keywords.insert(0, ast.keyword("track_running_stats", node.args.pop()))
        if len(node.args) > 2:
            node.args[2] = self.momentum(node.args[2])
        for keyword in node.keywords:
            if keyword.arg == "momentum":
                keyword.value = self.momentum(keyword.value)
            if keyword.arg == "track_running_stats":
                keyword.arg, keyword.value = "use_batch_statistics", self.flag(keyword.value)
        return node

    def visit_Attribute(self, node: ast.Attribute) -> ast.expr:
        text = ast.unparse(node).replace("torch.nn.BatchNorm3d", "mindspore.nn.BatchNorm3d")
        return ast.parse(text, mode="eval").body

    def visit_ImportFrom(self, node: ast.ImportFrom) -> ast.ImportFrom:
        return ast.ImportFrom("mindspore.nn", node.names, 0)

    @staticmethod
    def momentum(value: ast.expr) -> ast.expr:
        if isinstance(value, ast.Constant):
            return ast.Constant(float(1 - Decimal(str(value.value))))
        if ast.unparse(value).startswith("1 - "):
            assert isinstance(value, ast.BinOp)
            return value.right
        return ast.parse(f"1 - ({ast.unparse(value)})", mode="eval").body

    @staticmethod
    def flag(value: ast.expr) -> ast.expr:
        if isinstance(value, ast.Constant):
            return ast.Constant(None if value.value else True)
        text = f"None if ({ast.unparse(value)}) else True"
        if isinstance(value, ast.UnaryOp):
            text = f"True if ({ast.unparse(value.operand)}) else None"
        return ast.parse(text, mode="eval").body


@settings(deadline=None, max_examples=200)
@given(st.lists(layers(), min_size=1, max_size=4))
def test_ast_sees_the_intended_changes_and_no_other(calls: list[str]) -> None:
    text = HEAD + "".join(f"x{index} = {call}\n" for index, call in enumerate(calls))
    result, translation = translated(text, "python", from_=None)
    assert not translation.undecided
    expected = Expected().visit(ast.parse(text))
    if "BN(" not in text:
        expected.body[2].module = "torch.nn"
    assert ast.unparse(ast.parse(result)) == ast.unparse(ast.fix_missing_locations(expected))


@settings(deadline=None, max_examples=100)
@given(st.lists(layers(), min_size=1, max_size=4))
def test_there_and_back_means_the_same(calls: list[str]) -> None:
    head = "import torch\nfrom torch.nn import BatchNorm3d as BN\n"
    lines = [call.replace("alias(", "BN(").replace(" nn.", " torch.nn.") for call in calls]
    text = head + "".join(f"x{i} = {line}\n" for i, line in enumerate(lines) if "torch.nn" in line or "BN(" in line)
    there, _ = translated(text, "python", from_=None)
    back, _ = translated(there, "python", to="torch", from_=None)
    # A fifth positional argument stays the keyword it became.
    named = [_flag_named(ast.parse(source)) for source in (text, back)]
    assert named[0] == named[1]


def _flag_named(module: ast.Module) -> str:
    for node in ast.walk(module):
        if isinstance(node, ast.Call) and len(node.args) == 5:
            node.keywords.insert(0, ast.keyword("track_running_stats", node.args.pop()))
    return ast.unparse(module)


def _networks() -> list[Path]:
    spec = importlib.util.find_spec("monai")
    assert spec is not None
    assert spec.origin is not None
    return sorted((Path(spec.origin).parent / "networks").rglob("*.py"))


def test_monais_networks_stay_but_for_their_two_batch_norms_with_settings() -> None:
    changed = {}
    for path in _networks():
        with tokenize.open(path) as file:
            text = file.read()
        result, translation = translated(text, "python")
        if result != text:
            changed[path.name] = sorted({(change.before, change.after) for change in translation.changes})
    # norm=("batch", {"eps": 1e-3, "momentum": 0.01}) as a parameter's default.
    assert changed == {
        "efficientnet.py": [("0.01", "0.99")],
        "flexible_unet.py": [("0.1", "0.9")],
    }


@pytest.mark.parametrize(
    "loop",
    [
        "for cls in BNS.values():\n    f(cls(8, momentum=0.3))\n",
        "for name, cls in BNS.items():\n    f(cls(8, momentum=0.3))\n",
        "f([cls(8, momentum=0.3) for cls in BNS.values()])\n",
        "f({name: cls(8, momentum=0.3) for name, cls in BNS.items()})\n",
    ],
)
def test_a_class_that_a_loop_takes_of_a_dict_is_asked_about(loop: str) -> None:
    text = "from torch import nn\nBNS = {'a': nn.BatchNorm3d, 'b': nn.BatchNorm2d}\n" + loop
    result, done = translated(text, "python")
    assert "momentum=0.3" in result
    (asked,) = done.undecided
    assert asked.setting == "momentum"
