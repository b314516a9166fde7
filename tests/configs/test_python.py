"""Python as a config: what calls and names mean, and how changes of them are spelled."""

from __future__ import annotations

import ast
import importlib.util
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from porter.configs.formats.python import parse
from porter.configs.formats.python_edits import PythonDocument
from porter.configs.formats.python_source import Source
from porter.configs.splices import spliced, undone
from porter.configs.tree import Expression, ListNode, Mapping, Node, Rewrite, Scalar, Span
from porter.errors import LimitExceeded, Malformed


def nodes(document: PythonDocument) -> Iterator[Node]:
    waiting: list[Node] = [root.node for root in reversed(document.roots)]
    while waiting:
        node = waiting.pop()
        yield node
        if isinstance(node, ListNode):
            waiting += reversed(node.items)
        elif isinstance(node, Mapping):
            waiting += [entry.value for entry in reversed(node.entries)]


def calls(document: PythonDocument) -> list[Mapping]:
    found = (node for node in nodes(document) if isinstance(node, Mapping))
    return [node for node in found if node.callee is not None and not node.is_scope]


def call_at(document: PythonDocument, start: str) -> Mapping:
    """The call whose text begins with `start`."""
    found = {call for call in calls(document) if document.text[call.span.start :].startswith(start)}
    assert len(found) == 1, [document.text[slice(*call.span)] for call in calls(document)]
    return found.pop()


def value_at(document: PythonDocument, path: str) -> Node:
    """The node at a path of roots' names, keys and list indexes."""
    found = [value for root in document.roots for here, value in _below(root.node, root.name) if here == path]
    assert len(found) == 1, [here for root in document.roots for here, _ in _below(root.node, root.name)]
    return found[0]


def _below(node: Node, path: str) -> Iterator[tuple[str, Node]]:
    yield path, node
    if isinstance(node, ListNode):
        parts: list[tuple[str, Node]] = [(str(index), item) for index, item in enumerate(node.items)]
    else:
        parts = [(e.name or str(e.position), e.value) for e in node.entries] if isinstance(node, Mapping) else []
    for name, value in parts:
        yield from _below(value, f"{path}.{name}".lstrip("."))


TORCH, MINDSPORE, MINT = (f"{package}.BatchNorm3d" for package in ("torch.nn", "mindspore.nn", "mindspore.mint.nn"))


@pytest.mark.parametrize(
    ("source", "callee"),
    [
        ("import torch.nn as nn\nnn.BatchNorm3d(8)", TORCH),
        ("import torch.nn\ntorch.nn.BatchNorm3d(8)", TORCH),
        ("from torch import nn\nnn.BatchNorm3d(8)", TORCH),
        ("import torch as t\nt.nn.BatchNorm3d(8)", TORCH),
        ("from torch.nn import BatchNorm3d as BN\nBN(8)", TORCH),
        ("from torch.nn import *\nBatchNorm3d(8)", TORCH),
        ("from torch.nn.modules import BatchNorm3d\nBatchNorm3d(8)", "torch.nn.modules.BatchNorm3d"),
        ("import mindspore.nn as nn\nnn.BatchNorm3d(8)", MINDSPORE),
        ("from mindspore import nn, mint\nmint.nn.BatchNorm3d(8)", MINT),
        ("from mindspore.mint import nn\nnn.BatchNorm3d(8)", MINT),
        ("import torch.nn as nn\nBN = nn.BatchNorm3d\nBN(8)", TORCH),
        ("try:\n from torch.nn import BatchNorm3d\nexcept ImportError:\n BatchNorm3d = None\nBatchNorm3d(8)", TORCH),
        ("from torch import nn\nclass N:\n def a(self): self.B = nn.BatchNorm3d\n def f(self): self.B(8)", TORCH),
        # Either way a batch normalisation of PyTorch: whose terms its settings are in is certain.
        ("from torch.nn import BatchNorm2d, BatchNorm3d\nBN = BatchNorm3d if x else BatchNorm2d\nBN(8)", TORCH),
        ("from torch import nn\nfrom functools import partial\npartial(nn.BatchNorm3d, eps=1e-3)", TORCH),
        ("from torch import nn\nimport functools\nfunctools.partial(nn.BatchNorm3d, eps=1e-3)", TORCH),
        ("from torch import nn\nBNS = {2: nn.BatchNorm2d, 3: nn.BatchNorm3d}\nBN = BNS\n(BN if x else BN)(8)", ""),
        ("from torch import nn\n{2: nn.BatchNorm3d, 3: nn.BatchNorm3d}[d](8)", TORCH),
        ("from torch import nn\n[nn.BatchNorm3d][0](8)", TORCH),
        ("from torch import nn\n(nn.BatchNorm3d if a else nn.BatchNorm2d)(8)", TORCH),
        ("from torch import nn\nfor B in (nn.BatchNorm3d, nn.BatchNorm2d): B(8)", TORCH),
        ("from torch import nn\nx = [B(8) for B in [nn.BatchNorm3d, nn.BatchNorm2d]]", TORCH),
        ("from torch import nn\n(B := nn.BatchNorm3d)(8)", TORCH),
        ("import functools as f\nfrom torch import nn\nA = f.partial(nn.BatchNorm3d, eps=1)\ndef g(): A(8)", TORCH),
        # A local function, a relative import, and a package of the user's that is called nn.
        ("def BatchNorm3d(c): pass\nBatchNorm3d(8)", ""),
        ("from .norm import BatchNorm3d\nBatchNorm3d(8)", ".norm.BatchNorm3d"),
        ("from mine import nn\nnn.BatchNorm3d(8)", "mine.nn.BatchNorm3d"),
        # Two frameworks: not certain.
        ("try:\n from torch import nn\nexcept ImportError:\n from mindspore import nn\nnn.BatchNorm3d(8)", ""),
        ("layers[0](8)", ""),
        # A method does not see the names of its class.
        ("from torch import nn\nclass N:\n B = nn.BatchNorm3d\n def f(self): B(8)", "B"),
    ],
)  # fmt: skip
def test_a_call_is_known_by_its_imports(source: str, callee: str) -> None:
    assert calls(parse(source))[0].callee == callee


@pytest.mark.parametrize(
    ("body", "callee", "perhaps"),
    [
        ("def f(norm_layer=nn.BatchNorm3d):\n    norm_layer(8)", "", TORCH),
        ("def f(norm_layer=None):\n    norm_layer = norm_layer or nn.BatchNorm3d\n    norm_layer(8)", "", TORCH),
        ("def f(a=None):\n    if a is None:\n        a = nn.BatchNorm3d\n    a(8)", "", TORCH),
        ("def f(a, b):\n    c = nn.BatchNorm3d if b else nn.InstanceNorm3d\n    c(8)", "", TORCH),
        ("def f(a):\n    a(8)", "", ""),
        ("def f():\n    a = nn.BatchNorm3d\n    a(8)", TORCH, ""),
        ("BNS = {2: nn.BatchNorm3d}\nBNS[3](64)", "", TORCH),
        ("{2: nn.BatchNorm3d, 3: nn.InstanceNorm3d}[d](64)", "", TORCH),
        ("class N:\n    norm = nn.BatchNorm3d\n    def f(self): self.norm(8)", "", TORCH),
    ],
)
def test_a_parameter_is_a_batch_norm_perhaps(body: str, callee: str, perhaps: str) -> None:
    call = calls(parse(f"import torch.nn as nn\n{body}"))[-1]
    assert (call.callee, call.perhaps_callee) == (callee, perhaps)


@pytest.mark.parametrize(
    ("init", "own_calls", "super_call"),
    [
        ("pass", TORCH, None),
        ("def __init__(self, c, **kw): super().__init__(c, **kw)", TORCH, TORCH),
        ("def __init__(self, *a, **kw): super().__init__(*a, **kw)", TORCH, TORCH),
        ("def __init__(self, c, momentum=0.1): super().__init__(c, momentum=momentum)", "", TORCH),
        ("def __init__(self, c, act=True, **kw): super().__init__(c, **kw)", "", TORCH),
        ("def __init__(self, eps=1, **kw): super().__init__(8, eps, **kw)", "", TORCH),
        ("def __init__(self, c, **kw): super(Mine, self).__init__(c, **kw)", TORCH, TORCH),
        ("def __init__(self, c, m): nn.BatchNorm3d.__init__(self, c, 1e-5, m)", "", TORCH),
    ],
)
def test_a_derived_class_is_its_base_where_it_passes_all_on(
    init: str, own_calls: str, super_call: str | None
) -> None:
    document = parse(
        f"import torch.nn as nn\nclass Mine(nn.BatchNorm3d):\n    {init}\nlast = Mine(8, momentum=0.1)\n"
    )
    assert call_at(document, "Mine(8").callee == own_calls
    inner = [call for call in calls(document) if call.callee and call.span.end < document.text.index("last")]
    assert {call.callee for call in inner if call.entries} == ({super_call} - {None})


def test_the_base_is_called_with_self_first() -> None:
    init = "def __init__(self, c): nn.BatchNorm3d.__init__(self, c, 1e-3)"
    source = f"from torch import nn\nclass M(nn.BatchNorm3d):\n    {init}"
    call = next(call for call in calls(parse(source)) if call.entries)
    assert [(entry.position, parse(source).text[slice(*entry.value.span)]) for entry in call.entries] == [
        (0, "c"), (1, "1e-3")
    ]  # fmt: skip


def test_behind_a_star_no_position_is_known() -> None:
    call = calls(parse("f(8, *rest, 0.1)"))[0]
    assert [entry.position for entry in call.entries] == [0, None, None]
    assert call.is_open


def test_only_a_name_written_in_full_can_be_renamed() -> None:
    source = "import torch\nfrom torch.nn import BatchNorm3d as BN\na = torch.nn.BatchNorm3d(8)\nb = BN(8)\n"
    document = parse(source)
    span = call_at(document, "torch.nn").callee_span
    assert span is not None
    assert source[slice(*span)] == TORCH
    assert call_at(document, "BN").callee_span is None
    assert [(i.package, i.alone, source[slice(*i.span)]) for i in document.imports] == [
        ("torch", False, "torch"), ("torch.nn", True, "torch.nn")
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("statement", "package", "alone"),
    [
        ("import torch.nn as BN_is_in", "torch.nn", False),
        ("from torch.nn import BatchNorm3d, Conv3d", "torch.nn", False),
        ("from torch.nn import (BatchNorm3d,\n  SyncBatchNorm)", "torch.nn", True),
        ("from  torch . nn  import BatchNorm3d", None, None),
    ],
)
def test_imports_that_batch_norms_come_through(statement: str, package: str | None, alone: bool | None) -> None:
    call = "BN_is_in.BatchNorm3d(8)" if "BN_is_in" in statement else "BatchNorm3d(8)"
    document = parse(f"import torch\n{statement}\n{call}\n")
    found = [(i.package, i.alone) for i in document.imports]
    assert found == ([(package, alone)] if package else [])


def test_an_import_without_a_batch_norm_is_none() -> None:
    assert parse("import torch.nn as nn\nfrom torch.nn import BatchNorm3d\nnn.Conv3d(1, 2, 3)\n").imports == []


PATHS = """\
BN_MOMENTUM = 0.1
_C.BN.MOMENTUM = 0.2
cfg["model"]["norm"] = dict(type='BN3d', momentum=0.3, **rest)
model = {'norm': ("batch", {"momentum": 0.4})}
class Config:
    bn_eps: float = 0.5
class UNet(Base):
    def __init__(self, c, bn_mom=0.6, *, eps=-.5):
        self.bn = make(c, momentum=0.7)
        if c:
            bn_momentum = 0.8
        add(0.9)
        def inner(x=1.0): return 'a'
"""


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("BN_MOMENTUM", 0.1),
        ("_C.BN.MOMENTUM", 0.2),
        ("cfg.model.norm.type", "BN3d"),
        ("cfg.model.norm.momentum", 0.3),
        ("model.norm.0", "batch"),
        ("model.norm.1.momentum", 0.4),
        ("Config.bn_eps", 0.5),
        ("UNet.__init__.bn_mom", 0.6),
        ("UNet.__init__.eps", -0.5),
        ("UNet.__init__.self.bn.momentum", 0.7),
        ("UNet.__init__.self.bn.0", Expression("c")),
        ("UNet.__init__.bn_momentum", 0.8),
        ("UNet.__init__.add().0", 0.9),
        ("UNet.__init__.inner.x", 1.0),
    ],
)
def test_paths_lead_to_values(path: str, value: object) -> None:
    node = value_at(parse(PATHS), path)
    assert isinstance(node, Scalar)
    assert node.value == value


def test_no_two_roots_have_one_name() -> None:
    text = "norm(1)\nnorm(2); norm(3)\ndef f():\n    x.norm(4)\n    return {'a': 5}\ndef f(a=6): return [7], [8]\n"
    text += "make()(9)\n"
    names = {text[slice(*root.node.span)]: root.name for root in parse(text).roots}
    assert names == {
        "norm(1)": "norm()@1",
        "norm(2)": "norm()@2:1",
        "norm(3)": "norm()@2:10",
        "x.norm(4)": "f.norm()",
        "{'a': 5}": "f.dict()",
        "a=6": "f",
        "([7], [8])"[1:-1]: "f.list()",
        "make()(9)": "call()",
        "make()": "make()",
    }


def test_a_dict_is_no_call_and_a_call_is() -> None:
    document = parse(PATHS)
    norm, made = value_at(document, "cfg.model.norm"), value_at(document, "UNet.__init__.self.bn")
    assert isinstance(norm, Mapping)
    assert isinstance(made, Mapping)
    assert (norm.callee, norm.is_open, made.callee, made.is_open) == (None, True, "make", False)


def test_a_mapping_given_by_its_name_is_the_same_mapping() -> None:
    document = parse(
        "from torch import nn\nKW = dict(eps=1e-3)\na = nn.BatchNorm3d(8, **KW)\nb = nn.BatchNorm3d(8, **{'eps': 1})"
    )
    first, second = call_at(document, "nn.BatchNorm3d(8, **KW"), call_at(document, "nn.BatchNorm3d(8, **{")
    assert first.merged == (value_at(document, "KW"),)
    assert not first.is_open
    assert second.entry("eps") is not None
    assert document.needs_person == []


PERSON = """\
import torch.nn as nn
from torch.nn.modules.batchnorm import _BatchNorm
def f(model, name, kw, m2):
    for m in model.modules():
        if isinstance(m, nn.BatchNorm3d):  # person
            m.momentum = 0.01  # person
        if isinstance(m, nn.Conv3d):
            m.eps = 1  # person
    for _, layer in model.named_modules():
        layer.eps *= 10  # person
    if type(m2) is nn.BatchNorm3d:  # person
        m2.eval()
    isinstance(m2, (nn.Conv3d, _BatchNorm))  # person
    nn.BatchNorm3d(8, **kw)  # person
    nn.BatchNorm3d(*kw)  # person
    nn.Conv3d(8, 8, 3, **kw)
    getattr(nn, name)(8)  # person
    getattr(nn, 'ReLU')()
    getattr(model, name)
    setattr(m2, 'momentum', 0.1)  # person
    optimizer.momentum = 0.9
    cfg.bn.momentum = 0.1
    model.bn1.momentum = 0.1  # person
    bn = nn.BatchNorm3d(8)
    bn.momentum = 0.1  # person
class N(nn.Module):
    def f(self):
        self.bn1.momentum = 0.1  # person
        self.momentum = 0.1
        self.norm_cfg = 1
class Own(nn.BatchNorm3d):
    def __init__(self, c, **kw): super().__init__(c, **kw)
class Own2(nn.BatchNorm3d):
    def __init__(self, c, eps, **kw):
        super().__init__(c, eps, **kw)  # person
"""


GIVEN = """\
from torch import nn
from dataclasses import dataclass, field
import attr, argparse
def f(m, norm_cfg, name, kw):
    get_norm('bn')(16, momentum=.1)  # person
    Norm[Norm.BATCH, 3](64, momentum=0.1)  # person
    get_norm_layer("batch", 3, 4, momentum=.1)  # person
    NormConfig(momentum=.1)  # person
    NormConfig(eps=.1)
    GroupNormConfig(momentum=.1)
    builds(nn.BatchNorm3d, momentum=.1)  # person
    L(nn.BatchNorm3d)(momentum=.1)  # person
    registry[nn.BatchNorm3d](64, 1e-5, .1)  # person
    registry[nn.Conv3d](64, 1e-5, .1)
    nn.Sequential(nn.BatchNorm3d(3), nn.ReLU())
    SGD(net.parameters(), momentum=0.9)
    norm_cfg.update(momentum=0.3)  # person
    norm_cfg.update({'momentum': 0.3})  # person
    norm_cfg.update(dict(momentum=0.3))  # person
    norm_cfg.setdefault('momentum', .3)  # person
    norm_cfg |= dict(momentum=0.3)  # person
    kw.update(momentum=0.3)
    if type(m).__name__ == 'BatchNorm3d':
        m.momentum = 0.1  # person
def g():
    parser.add_argument('--bn-momentum', type=float, default=0.1)  # person
    parser.add_argument('--momentum', type=float, default=0.9)
    flags.DEFINE_float('bn_momentum', .1, 'help')  # person
    x = cfg.get('bn_momentum', .1)  # person
    m.momentum = 0.1
def h(m):
    if m.__class__.__name__.find('BatchNorm') != -1:
        m.momentum = 0.1  # person
class C:
    bn_mom: float = field(default=.1)  # person
    bn_momentum = attr.ib(default=.1)  # person
    bn_eps: float = Field(0.1)
    momentum: float = field(default=.9)
class Own(nn.BatchNorm3d):
    def __init__(self, c, momentum=0.1, **kw):
        kw.setdefault('momentum', .03)  # person
        kw['momentum'] = 0.3  # person
        kw['device'] = None
        super().__init__(c, **kw)  # person
        self.momentum = momentum  # person
        self.scale = 1e-3
KW = dict(momentum=.1)
KW['momentum'] = .2
a = nn.BatchNorm3d(3, **KW)  # person
KW2 = dict(momentum=.1)
def later(): KW2.update(momentum=.2)
b = nn.BatchNorm3d(3, **KW2)  # person
"""


@pytest.mark.parametrize("source", [PERSON, GIVEN])
def test_what_needs_a_person_is_listed_with_its_line(source: str) -> None:
    document = parse(source)
    expected = [number for number, line in enumerate(source.splitlines(), 1) if line.endswith("# person")]
    assert sorted({document.place(each.span.start).line for each in document.needs_person}) == expected


def test_what_needs_a_person_is_no_setting() -> None:
    document = parse(PERSON)
    spans = [each.span for each in document.needs_person if document.text[each.span.start] != "*"]
    for node in nodes(document):
        assert not any(span.start <= node.span.start and node.span.end <= span.end for span in spans), node


# Rewriting.

MOMENTUM, FROM_TRACK, TO_TRACK = (
    "momentum: 1 - m",
    "track_running_stats to use_batch_statistics",
    "use_batch_statistics to track",
)


@pytest.mark.parametrize(
    ("how", "before", "after"),
    [
        (MOMENTUM, "bn_mom", "1 - bn_mom"),
        (MOMENTUM, "1 - x", "x"),
        (MOMENTUM, "1.0-x", "x"),
        (MOMENTUM, "1 - (a + b)", "a + b"),
        (MOMENTUM, "1 - (a\n + b)", "(a\n + b)"),
        (MOMENTUM, "1 - (y := a)", "(y := a)"),
        (MOMENTUM, "a + b", "1 - (a + b)"),
        (MOMENTUM, "2 * a", "1 - 2 * a"),
        (MOMENTUM, "a if t else b", "1 - (a if t else b)"),
        (MOMENTUM, "a or b", "1 - (a or b)"),
        (MOMENTUM, "a or None", None),
        (MOMENTUM, "a and None", None),
        (MOMENTUM, "(b if a else None) or 0.1", None),
        (MOMENTUM, "(x := None)", None),
        (MOMENTUM, "b'1'", None),
        (MOMENTUM, "...", None),
        (MOMENTUM, "f'{x}'", None),
        (MOMENTUM, "-a", "1 - -a"),
        (MOMENTUM, "self.cfg['m'] ** 2", "1 - self.cfg['m'] ** 2"),
        (MOMENTUM, "f(a)", "1 - f(a)"),
        (MOMENTUM, "None if t else 0.1", None),
        (MOMENTUM, "0.1 if t else None", None),
        (MOMENTUM, "lambda: 1", None),
        (MOMENTUM, "not a", None),
        (MOMENTUM, "1 - (  # why\n x)", None),
        (FROM_TRACK, "t", "None if t else True"),
        (FROM_TRACK, "not t", "True if t else None"),
        (FROM_TRACK, "a and b", "None if a and b else True"),
        (FROM_TRACK, "a if b else c", "None if (a if b else c) else True"),
        (FROM_TRACK, "not (a if b else c)", "True if (a if b else c) else None"),
        (TO_TRACK, "None if t else True", "t"),
        (TO_TRACK, "True if t else None", "not t"),
        (TO_TRACK, "True if a or b else None", "not (a or b)"),
        (TO_TRACK, "None if (a if b else c) else True", "a if b else c"),
        (TO_TRACK, "None if t else False", None),
        (TO_TRACK, "u", None),
    ],
)
def test_an_expression_is_rewritten(how: Rewrite, before: str, after: str | None) -> None:
    document = parse(f"f(momentum={before})")
    value = calls(document)[0].entries[0].value
    assert isinstance(value, Scalar)
    assert document.rewritten(value, how) == after


NUMBERS = st.recursive(
    st.sampled_from(["a", "b", "o.m", "d['m']", "f(a)", "0.25", "(b)"]),
    lambda inner: st.one_of(
        st.tuples(inner, st.sampled_from([" + ", "-", " * ", " / ", "**", " or ", " and "]), inner).map("".join),
        inner.map("({})".format),
        inner.map("-{}".format),
        inner.map("1 - ({})".format),
        st.tuples(inner, inner, inner).map(lambda parts: "(({}) if ({}) else {})".format(*parts)),
        st.tuples(inner, inner, inner).map(lambda parts: "({}) if ({}) else ({})".format(*parts)),
    ),
    max_leaves=5,
)
NAMES = {"a": 0.3, "b": 0.7, "d": {"m": 0.2}, "f": lambda x: x / 2, "o": type("O", (), {"m": 0.4})}


def _computed(text: str) -> object:
    try:
        return eval(text, {}, dict(NAMES))
    except ArithmeticError:
        return None


@settings(deadline=None, max_examples=300)
@given(NUMBERS)
def test_a_rewritten_momentum_is_one_minus_the_old(text: str) -> None:
    document = parse(f"f(momentum={text})")
    value = next(call for call in calls(document)).entries[0].value
    if not isinstance(value, Scalar) or not isinstance(value.value, Expression):
        return
    after = document.rewritten(value, "momentum: 1 - m")
    was = _computed(text)
    if after is None or not isinstance(was, float):
        return
    start, end = value.span
    now = _computed(spliced(document.text, [(start, end, after)])[len("f(momentum=") : -1])  # type: ignore[list-item]
    assert isinstance(now, float)
    assert now == pytest.approx(1 - was, rel=1e-9, abs=1e-9)


@settings(deadline=None, max_examples=200)
@given(NUMBERS)
def test_a_rewritten_flag_comes_back(text: str) -> None:
    there = parse(f"f(affine=({text}))")
    value = calls(there)[0].entries[0].value
    assert isinstance(value, Scalar)
    after = there.rewritten(value, "track_running_stats to use_batch_statistics")
    assert after is not None
    back = parse(f"f(affine={after})")
    rewritten = calls(back)[0].entries[0].value
    assert isinstance(rewritten, Scalar)
    again = back.rewritten(rewritten, "use_batch_statistics to track")
    assert again is not None
    assert ast.dump(ast.parse(again)) == ast.dump(ast.parse(value.text))


# Taking out and renaming.


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("f(8, gone=1)", "f(8)"),
        ("f(gone=1, b=2)", "f(b=2)"),
        ("f(gone=1)", "f()"),
        ("f(8, gone=(1), b=2)", "f(8, b=2)"),
        ("f(8, gone=1, gone2=2, b=3)", "f(8, b=3)"),
        ("f(8, gone=')', gone2='#')", "f(8)"),
        ("{'gone': 1, 'b': (2), **c}", "{'b': (2), **c}"),
        ("f(\n  8,  # c\n  gone=1,  # goes\n  # stays\n  b=2,\n)", "f(\n  8,  # c\n  # stays\n  b=2,\n)"),
        ("f(8,\r\n  gone=1,\r\n  b=2)", "f(8,\r\n  b=2)"),
        ("f(8, \\\n  gone=1)", "f(8)"),
    ],
)  # fmt: skip
def test_arguments_are_taken_out(before: str, after: str) -> None:
    document = parse(f"x = {before}")
    mapping = value_at(document, "x")
    assert isinstance(mapping, Mapping)
    entries = [entry for entry in mapping.entries if entry.name.startswith("gone")]
    changed = spliced(document.text, document.removed(mapping, entries))
    assert ast.dump(ast.parse(changed)) == ast.dump(ast.parse(f"x = {after}"))
    if "\\" not in before:
        assert changed == f"x = {after}"


def test_an_assignment_taken_out_leaves_its_place() -> None:
    document = parse("class BN:\n    gamma_init = 'zeros'  # why\n")
    mapping = value_at(document, "BN")
    assert isinstance(mapping, Mapping)
    changed = spliced(document.text, document.removed(mapping, mapping.entries))
    assert changed == "class BN:\n    pass  # why\n"


BLANKS = st.sampled_from(["", " ", "\n", "\n    ", "  # note, (of it)\n  ", "\r\n", " \\\n ", "\t"])
VALUES = st.sampled_from(
    ["1e-5", "(0.1)", "((a + b))", "'x, ('", "f(1, 2)", "[1, (2)]", "not t", "{'k': 1}", "x #\n"]
)


@st.composite
def written(draw: st.DrawFn) -> tuple[str, list[str]]:
    """A call or dict with the names of its entries, written in any way."""
    kind = draw(st.sampled_from(["dict", "call"]))
    names = [f"k{index}" for index in range(draw(st.integers(1, 5)))]
    parts = []
    for name in names:
        value = draw(VALUES)
        key = f"{name}{draw(st.sampled_from(['=', ' = ']))}" if kind == "call" else f"'{name}'{draw(BLANKS)}:"
        parts.append(f"{draw(BLANKS)}{key}{draw(BLANKS)}{value}{draw(BLANKS)}")
    if kind == "call":
        parts = [*draw(st.lists(VALUES.filter(lambda value: "not" not in value), max_size=2)), *parts]
    text = ",".join(parts) + draw(st.sampled_from(["", ",", " ,\n"]))
    return f"x = {'f(' if kind == 'call' else '{'}{text}{')' if kind == 'call' else '}'}  # end\n", names


@settings(deadline=None, max_examples=400)
@given(written(), st.data())
def test_ast_sees_exactly_what_is_taken_out(case: tuple[str, list[str]], data: st.DataObject) -> None:
    text, names = case
    gone = data.draw(st.sets(st.sampled_from(names)))
    document = parse(text)
    mapping = value_at(document, "x")
    assert isinstance(mapping, Mapping)
    splices = document.removed(mapping, [entry for entry in mapping.entries if entry.name in gone])
    changed = spliced(text, splices)
    expected = ast.parse(text)
    value = expected.body[0].value  # type: ignore[attr-defined]
    if isinstance(value, ast.Call):
        value.keywords = [keyword for keyword in value.keywords if keyword.arg not in gone]
    else:
        pairs = [(k, v) for k, v in zip(value.keys, value.values, strict=True) if k.value not in gone]
        value.keys, value.values = [k for k, _ in pairs], [v for _, v in pairs]
    assert ast.dump(ast.parse(changed)) == ast.dump(expected)
    assert spliced(changed, undone(text, splices)) == text


@pytest.mark.parametrize(
    ("text", "which", "after"),
    [
        ("f(8, 1e-5, 0.1)", 2, "f(8, 1e-5, name=0.1)"),
        ("f(8, (1e-5), ((0.1)))", 2, "f(8, (1e-5), name=((0.1)))"),
        ("f(8,  # (a\n  (0.1))", 1, "f(8,  # (a\n  name=(0.1))"),
        ("f(old=1)", 0, "f(name=1)"),
        ("f(old  = 1)", 0, "f(name  = 1)"),
        ("{'old': 1}", 0, "{'name': 1}"),
        ('{"old" : 1}', 0, '{"name" : 1}'),
        ("partial(f, 8, (9))", 1, "partial(f, 8, name=(9))"),
    ],
)
def test_arguments_are_renamed(text: str, which: int, after: str) -> None:
    document = parse(f"from functools import partial\nx = {text}")
    mapping = value_at(document, "x")
    assert isinstance(mapping, Mapping)
    splice = document.renamed(mapping.entries[which], "name")
    assert spliced(document.text, [splice]) == f"from functools import partial\nx = {after}"


def test_an_assignment_and_an_attribute_are_renamed() -> None:
    document = parse("o.old = 1\no['old2'] = 1\n")
    mapping = value_at(document, "o")
    assert isinstance(mapping, Mapping)
    splices = [document.renamed(entry, "name") for entry in mapping.entries]
    assert spliced(document.text, splices) == "o.name = 1\no['name'] = 1\n"


@pytest.mark.parametrize(
    ("value", "like", "spelled"),
    [
        (True, "False", "True"),
        (None, "True", "None"),
        ("0.9", "0.1", "0.9"),
        ("0.9", "'0.1'", "'0.9'"),
        ("0.9", 'r"0.1"', '"0.9"'),
        ("0.9", "'''0.1'''", "'''0.9'''"),
        ("it's", "'x'", '"it\'s"'),
        ("a\\b", "'x'", "'a\\\\b'"),
        (None, "'x'", "None"),
    ],
)
def test_values_are_spelled_in_the_style_of_another(value: bool | str | None, like: str, spelled: str) -> None:
    document = parse(f"x = {like}")
    node = value_at(document, "x")
    assert isinstance(node, Scalar)
    assert document.spelled(value, node) == spelled


# Files as they are.


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x = (1\ny = 2\n", "line 1, column 5"),
        ("a = 1\n  b = 2\n", "line 2"),
        ("print 'a'\n", "Python 2"),
        ("x = 1\x00\n", "no Python code"),
        ("norm:\n  type: BN3d\n", "line 1"),
    ],
)
def test_what_is_no_python_is_malformed(text: str, message: str) -> None:
    with pytest.raises(Malformed) as error:
        parse(text)
    assert message in str(error.value)


@pytest.mark.parametrize("levels", [50_000, 100_000])
@pytest.mark.parametrize(("opening", "closing"), [("(", ")"), ("[", "]"), ("{1:", "}"), ("-", "1"), ("f(", ")")])
def test_nesting_has_a_limit(opening: str, closing: str, levels: int) -> None:
    with pytest.raises(LimitExceeded):
        parse("x = " + opening * levels + (closing if closing == "1" else "1" + closing * levels))


def test_a_long_chain_is_read_or_refused() -> None:
    for text in ("x = " + "a." * 500 + "b", "x = " + " + ".join(["a"] * 500), "f" + "(1)" * 500):
        assert parse(text).roots
    for text in ("x = " + "a." * 100_000 + "b", "x = " + " + ".join(["a"] * 100_000)):
        with pytest.raises(LimitExceeded):
            parse(text)


def test_nested_calls_are_read_and_endless_chains_of_names_refused() -> None:
    assert parse("x = " + "f(" * 90 + ")" * 90).roots
    chain = "a0 = torch.nn.BatchNorm3d\n" + "".join(f"a{i + 1} = a{i}\n" for i in range(2_000))
    assert call_at(parse(f"{chain}x = a50(1)\n"), "a50(").callee == TORCH
    with pytest.raises(LimitExceeded):
        parse(f"{chain}x = a2000(1)\n")


@pytest.mark.parametrize(
    "start", ["", "\ufeff", "# -*- coding: latin-1 -*-\n", "\x0c\n", "'''ä\r\n\x0cß\u2028'''\r\n"]
)
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_places_are_those_of_characters(start: str, end: str) -> None:
    text = f"{start}é = 'ü' ; made = f('ö', 'ł', m=0.1){end}x.ñ.ä = ('日本', 0.2){end}"
    document = parse(text)
    for node in nodes(document):
        if isinstance(node, Scalar):
            assert text[slice(*node.span)] == node.text
        for entry in node.entries if isinstance(node, Mapping) else ():
            assert entry.key is None or text[slice(*entry.key.span)] == entry.key.text
    last = value_at(document, "x.ñ.ä.1")
    assert isinstance(last, Scalar)
    assert last.value == 0.2
    assert value_at(document, "made.m").span == Span(text.index("0.1"), text.index("0.1") + 3)


def test_nothing_is_run(tmp_path: Path) -> None:
    mark = tmp_path / "ran"
    parse(f"open({str(mark)!r}, 'w').write('')\nimport no_such_module\nx = 1 / 0\n")
    assert not mark.exists()


def _sources() -> list[Path]:
    found = []
    for package, below in (("monai", "networks"), ("torch", "nn/modules"), ("mindspore", "nn/layer")):
        spec = importlib.util.find_spec(package)
        assert spec is not None
        assert spec.origin is not None
        found += sorted((Path(spec.origin).parent / below).rglob("*.py"))
    return found


def test_real_sources_are_read_whole() -> None:
    sources = _sources()
    assert len(sources) > 150
    for path in sources:
        with tokenize.open(path) as file:
            text = file.read()
        document = parse(text)
        for node in nodes(document):
            if isinstance(node, Scalar):
                assert text[slice(*node.span)] == node.text, path
            if isinstance(node, Mapping):
                assert all(e.key is None or text[slice(*e.key.span)] == e.key.text for e in node.entries), path
        assert {call.span for call in calls(document)} <= _calls(text)


def _calls(text: str) -> set[Span]:
    source = Source(text)
    return {source.span(node) for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Call)}
