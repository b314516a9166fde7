"""The page as its readers meet it, in a browser: what stands there, what a click, a key or a filter does."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import replace
from math import log10
from pathlib import Path
from typing import Any

import pytest
from browser import Browser, chromium, missing
from verifications import CIRCUMSTANCES, layer, network, verification

from porter.report.html import render
from porter.report.summary import Call
from porter.verification.copies import TensorProblem
from porter.verification.files import Verification
from porter.verification.network_results import Activation, ModeResult, NetworkResult
from porter.verification.results import Check, LayerResult

CONTRASTS = (Path(__file__).parent / "contrasts.js").read_text("utf-8")
CALL = Call("bnport verify net.pth net.ckpt --html page.html", "net.pth", "net.ckpt")
SWAPPED = "running_mean and running_var are swapped"
# A name that ends every kind of place it may be put in, and one that turns the text around it.
HOSTILE = "</script></title><script>document.title='owned'</script><img src=x onerror=alert(1)>\"'\u202e\x1b[31m"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    if missing():
        need = f"{' and '.join(missing())} missing: apt-get install chromium chromium-driver"
        (pytest.fail if os.environ.get("CI") else pytest.skip)(need)
    with chromium() as opened:
        opened.look()
        yield opened


@pytest.fixture
def page(browser: Browser, tmp_path: Path) -> Any:
    """Open the page of a verification; at the end, nothing must have been loaded and nothing refused."""

    def show(found: Verification, call: Call = CALL) -> Browser:
        path = tmp_path / "page.html"
        path.write_text(render(found, call), "utf-8")
        browser.open(path)
        return browser

    yield show
    assert browser.complaints() == []
    assert browser.run("return performance.getEntriesByType('resource').length") == 0


def failing(count: int = 5, *at: int) -> list[LayerResult]:
    layers = network(count)
    for index in at or (2,):
        layers[index] = layer(layers[index].name, 2e4, 3e3, 0.5, diagnosis=SWAPPED)
    return layers


def names(browser: Browser) -> list[str]:
    return browser.texts("#table tbody th a")


def test_a_right_network(page: Any) -> None:
    browser = page(verification(network(5)))
    assert browser.texts("h1") == ["VERIFIED"]
    assert browser.texts(".sentence") == ["53 tensors equal the source's; 5 layers run, all within bounds."]
    assert browser.texts(".next") == []
    assert browser.texts(".legend b") == ["5", "0", "0"]
    assert browser.run("return document.querySelectorAll('.mark circle').length") == 5
    told = " ".join(browser.texts("dd"))
    versions = "torch 2.13.0", "mindspore not installed"
    for fact in (CALL.command, CIRCUMSTANCES.date, *versions, "seed 7", "a" * 64, "b" * 64):
        assert fact in told
    assert "a warning" in browser.text("main")


def test_the_first_failing_layer_and_what_to_type_stand_on_top(page: Any) -> None:
    browser = page(verification(failing(5, 2, 4)))
    assert browser.texts("h1") == ["VERIFICATION FAILED"]
    assert browser.texts(".next h2") == ["First failing layer: stage3.2.bn1"]
    assert SWAPPED in browser.text(".next")
    assert browser.texts(".next kbd") == ["bnport convert net.pth -o net.ckpt --force"]
    assert browser.texts("#detail h3")[0].startswith("stage3.2.bn1")
    # The verdict is told by the shape, too.
    shapes = "return [...document.querySelectorAll('.mark .point')].map(point => point.tagName)"
    assert browser.run(shapes) == ["circle", "circle", "circle", "path", "path"]


def test_files_that_a_shell_would_misread_are_quoted(page: Any) -> None:
    browser = page(verification(failing()), Call("bnport", "my net.pth", "$(reboot).ckpt"))
    assert browser.texts(".next kbd") == ["bnport convert 'my net.pth' -o '$(reboot).ckpt' --force"]


@pytest.mark.parametrize("count", [1, 5, 500])
def test_every_layer_stands_in_order_and_by_its_share(page: Any, count: int) -> None:
    layers = network(count)
    layers[-1] = layer("last", 1000.0, diagnosis=SWAPPED)
    browser = page(verification(layers))
    script = """
        const box = (element) => element.getBoundingClientRect();
        const at = (rect) => [rect.x + rect.width / 2, rect.y + rect.height / 2];
        return {
            plot: (({left, right, top, bottom}) => [left, right, top, bottom])(box(document.querySelector('.plot'))),
            bound: box(document.querySelector('line.bound')).y,
            points: [...document.querySelectorAll('.mark')].sort((a, b) => a.dataset.index - b.dataset.index)
                .map((mark) => at(box(mark.querySelector('.point')))),
        };"""
    seen = browser.run(script)
    left, right, top, bottom = seen["plot"]
    xs, ys = zip(*seen["points"], strict=True)
    assert len(xs) == count
    assert list(xs) == sorted(xs)
    assert all(left < x < right for x in xs)
    assert all(top < y < bottom for y in ys)
    assert ys[-1] < seen["bound"]
    assert all(y > seen["bound"] for y in ys[:-1])
    # Twice the share stands higher by log10(2) decades; three decades lie between 1000 and 1 times the bound.
    if count > 1:
        decade = (seen["bound"] - ys[-1]) / 3
        shares = [max(c.error / c.bound for c in each.checks if c.bound) for each in layers]
        for share, y in zip(shares, ys, strict=True):
            assert y == pytest.approx(seen["bound"] - decade * log10(share), abs=1)


def test_a_click_and_the_pointer_show_a_layer(page: Any) -> None:
    browser = page(verification(network(5)))
    browser.hover(".mark[data-index='3'] .point")
    assert browser.text("#readout").startswith("stage4.3.bn1: ok, statistics 30% of its bound")
    browser.click(".mark[data-index='1'] .point")
    assert browser.texts("#detail h3")[0].startswith("stage2.1.bn1")
    assert browser.texts("#detail .top") == ["parameters\n0%", "eval\n5.2%", "train\n2.0%", "statistics\n30%"]
    assert browser.texts("#detail small")[1] == "error 5.2e-08, allowed 1.0e-06"
    assert browser.run("return document.querySelectorAll('#detail svg .bar').length") == 3
    assert browser.run("return document.querySelector('tr.chosen').id") == "layer-1"
    browser.click("#layer-4 a")
    assert browser.texts("#detail h3")[0].startswith("stage5.4.bn1")


def test_the_keyboard_goes_from_layer_to_layer(page: Any) -> None:
    browser = page(verification(failing(40, 7, 30)))
    browser.run("document.getElementById('plot').focus()")

    def value() -> str:
        return str(browser.run("return document.getElementById('plot').getAttribute('aria-valuetext')"))

    assert value() == f"{failing(40)[7].name}, failed, eval 20,000 times its bound"
    for key, index in (
        ("Right", 8),
        ("Left", 7),
        ("Left", 6),
        ("PageDown", 7),
        ("PageDown", 30),
        ("PageUp", 7),
        ("End", 39),
    ):
        browser.press(key)
        assert value().startswith(f"{network(40)[index].name},"), key
    browser.press("Enter")
    assert browser.run("return document.activeElement.textContent") == network(40)[39].name


def test_every_control_is_reached_with_tab(page: Any) -> None:
    browser = page(verification(network(2)))
    reached = []
    for _ in range(16):
        browser.press("Tab")
        active = "const e = document.activeElement; return e.id || e.textContent.trim()"
        reached.append(browser.run(active))
    wanted = [
        "To the table of layers",
        "plot",
        "name",
        "verdict",
        "kind",
        "#",
        "Layer",
        "Error / bound",
        "stage1.0.bn1",
    ]
    assert [name for name in reached if name in wanted] == wanted


def test_the_table_is_sorted_and_filtered(page: Any) -> None:
    layers = [
        layer("a10", 0.5),
        layer("a9", 0.9, kind="BatchNorm1d"),
        layer("b", None),
        layer("c", 5.0, diagnosis="x"),
    ]
    browser = page(verification(layers))
    assert names(browser) == ["a10", "a9", "b", "c"]
    browser.click("th[data-by=share] button")
    assert names(browser) == ["c", "a9", "a10", "b"]
    browser.click("th[data-by=share] button")
    assert names(browser) == ["b", "a10", "a9", "c"]
    browser.click("th[data-by=name] button")
    assert names(browser) == ["a9", "a10", "b", "c"]
    assert browser.run("return document.querySelectorAll('[aria-sort]').length") == 1
    browser.type("#name", "A")
    assert names(browser) == ["a9", "a10"]
    assert browser.text("#shown") == "2 of 4"
    assert browser.run("return document.querySelectorAll('.mark.away').length") == 2
    browser.type("#kind", "BatchNorm1d")
    assert names(browser) == ["a9"]


def test_names_from_a_file_are_text(page: Any) -> None:
    layers = [replace(layer(HOSTILE, 5.0, diagnosis=HOSTILE), notes=(HOSTILE,), suspect=(HOSTILE,))]
    problem = TensorProblem(HOSTILE, HOSTILE, "values", HOSTILE)
    found = replace(verification(layers, [problem]), warnings=(HOSTILE,))
    browser = page(found, Call(HOSTILE, HOSTILE, HOSTILE))
    assert "owned" not in browser.run("return document.title.replace(/<.*>/, '')")
    assert browser.run("return document.querySelectorAll('img').length") == 0
    assert browser.run("return document.scripts.length") == 2
    assert browser.texts("#detail h3")[0].startswith("</script></title><script>")
    assert not re.search("[\u202e\x1b]", browser.run("return document.documentElement.outerHTML"))


def test_figures_that_are_not_finite(page: Any) -> None:
    inf, nan = float("inf"), float("nan")
    odd = [Check("eval", False, inf, nan), Check("train", False, inf, 1.0), Check("statistics", True, 0.0, 0.0)]
    browser = page(verification([LayerResult("a", "BatchNorm3d", False, tuple(odd), "odd"), layer("b", 0.0)]))
    assert browser.texts("#table tbody td.number")[3:4] == ["beyond"]
    browser.click("th[data-by=share] button")
    assert names(browser) == ["a", "b"]


def test_a_setting_has_no_figures(page: Any) -> None:
    checks = (*layer("a", 0.1).checks, Check("settings", False))
    browser = page(verification([LayerResult("a", "BatchNorm3d", False, checks, "eps is 1e-3")]))
    assert browser.texts(".files") == ["net.pth (PyTorch) → net.ckpt (MindSpore)"]
    assert browser.text("#detail").split()[-2:] == ["settings", "wrong"]


def test_layers_that_were_not_run_say_why(page: Any) -> None:
    browser = page(verification([layer("a", None, None)]))
    assert browser.texts("h1") == ["NOT VERIFIED"]
    assert "MindSpore is not installed" in browser.text("#layer-0")
    assert browser.run("return document.querySelector('.mark .point').tagName") == "rect"


def test_without_layers_there_is_no_picture(page: Any) -> None:
    browser = page(verification([], [TensorProblem("a", None, "missing", "is missing")]))
    assert browser.texts(".next h2") == ["First wrong tensor: a"]
    assert browser.texts("svg") == []


def test_whole_networks(page: Any) -> None:
    def row(name: str, *, ok: bool) -> Activation:
        return Activation(name, name, "output", 0, ok, 0.5, 1.0 if ok else 1e-6, 3.0, ((1,), (1,)))

    modes = (
        ModeResult("eval", (row("a", ok=True), row("b", ok=False)), cause="padding differs"),
        ModeResult("train", (row("a", ok=True),)),
    )
    whole = NetworkResult(("1x3x8x8x8",), (), modes, {})
    found = replace(verification(network(3)), network=whole)
    browser = page(found)
    assert browser.texts(".next h2") == ["The networks differ"]
    assert "In eval, the networks part at b: padding differs" in browser.text(".next")
    assert browser.texts(".next kbd") == [CALL.command]
    assert [text.split()[0] for text in browser.texts("summary")] == ["failed", "ok"]
    assert browser.texts("details tbody th") == ["a", "b"]


def test_a_narrow_window_needs_no_scrolling_sideways(page: Any, browser: Browser) -> None:
    browser.look(width=380)
    page(verification(failing(60)))
    assert browser.run("return document.documentElement.scrollWidth") <= 380
    browser.look()


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_text_can_be_read_in_light_and_dark(page: Any, browser: Browser, dark: bool) -> None:
    """WCAG's contrast of 4.5 for every text that the page's own colours make."""
    browser.look(dark=dark)
    page(verification([*failing(), layer("z", None)]))
    contrasts = browser.run(CONTRASTS)
    browser.look()
    assert len(contrasts) > 15
    assert min(contrasts.values()) >= 4.5, contrasts


def test_without_script_it_is_a_table(tmp_path: Path) -> None:
    if missing():
        pytest.skip("no browser")
    path = tmp_path / "page.html"
    path.write_text(render(verification(failing()), CALL), "utf-8")
    with chromium(script=False) as browser:
        browser.open(path)
        assert browser.text("#layer-2 th").startswith("stage3.2.bn1")
        assert SWAPPED in browser.text("#layer-2")
        assert browser.text("#filter") == ""
        browser.click(".mark[data-index='4'] .point")
        assert browser.run("return location.hash") == "#layer-4"


def test_the_page_is_the_same_for_the_same_facts() -> None:
    first, second = (render(verification(failing()), CALL) for _ in range(2))
    assert first == second
    assert "http" not in re.sub(r"http://www\.w3\.org/2000/svg|http-equiv", "", first)
