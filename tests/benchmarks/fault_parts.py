"""The parts of the fault benchmark: each has its own folder and random numbers, and knows nothing of the others."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from itertools import islice
from multiprocessing import get_context
from pathlib import Path

import fault_catalogue
import fault_subjects
import numpy as np
import random_layers
import wrong_settings
from fault_catalogue import Fault, Scene
from fault_scoring import Finding, Score, judged
from fault_subjects import Subject, Tensors

import porter
from porter.verification.options import Options

DTYPES = ("float32", "float16", "bfloat16", "float64")
NETWORKS = ("UNet", "ResNet-10", "SegResNet")
# Files of random layers, a file being `random_layers.PER_FILE` of them.
NORM_FILES, OTHER_FILES = 24, 12

MakeSubject = Callable[..., Subject]
Run = Callable[[Path], Score]


@dataclass(frozen=True)
class Part:
    """Attributes: name, of no other part; run, which is given a folder of its own."""

    name: str
    run: Run

    def score(self) -> Score:
        with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return self.run(Path(folder))


@dataclass(frozen=True)
class Choice:
    """What of the catalogue is wanted.

    Attributes:
        reduced: values of the sample alone, bits of one network's float32, fewer right conversions.
        only: text that the network and the kind of fault must contain; "" wants right conversions, too.
        layers: of each network, that are damaged.
        commands: faults that the command line is tried on.
    """

    reduced: bool = False
    only: str = ""
    layers: int = 1
    commands: int = 3


def scores(parts: list[Part], jobs: int, on_part: Callable[[Score], None]) -> list[Score]:
    """One score for each part, in their order; `on_part` is called as they come in."""
    if jobs == 1:
        found = []
        for part in parts:
            found.append(part.score())
            on_part(found[-1])
        return found
    os.environ["OMP_NUM_THREADS"] = "1"  # for the processes that are started: each has one of the processors
    with ProcessPoolExecutor(jobs, get_context("spawn")) as pool:
        waiting = [pool.submit(part.score) for part in parts]
        for done in as_completed(waiting):
            on_part(done.result())
        return [future.result() for future in waiting]


def all_parts(choice: Choice) -> list[Part]:
    faults = list(_faults(choice))
    if choice.only:
        return faults
    right = list(_right_reduced() if choice.reduced else _right())
    return [*faults, *right, Part("command line", partial(_by_command, count=choice.commands))]


def _faults(choice: Choice) -> Iterator[Part]:
    def of(
        make: MakeSubject, what: fault_catalogue.Make, label: str, *, cut: int = 1, whole: bool = True
    ) -> Iterator[Part]:
        """One part, or `cut` of them; only the first unless it is to be `whole`."""
        name = f"{label}: {what.__name__}"
        for piece in range(cut if whole else 1):
            yield Part(f"{name}, {piece + 1} of {cut}", partial(_findings, name, make, what, choice, (piece, cut)))

    full = not choice.reduced
    for label, make in _networks(choice).items():
        for what in fault_catalogue.VALUES:
            cut = 1 if label == "video_resnet" else 2 if full else 8
            yield from of(make, what, label, cut=cut, whole=full or label == "video_resnet")
    for way in (fault_subjects.there, fault_subjects.back):
        for dtype in DTYPES if full else DTYPES[:1]:
            label, make = f"small UNet, {dtype}, {way.__name__}", partial(way, "small UNet", dtype=dtype)
            yield from of(make, fault_catalogue.BITS, label, cut=1 if full else 8, whole=full)
        yield from of(partial(way, "every dtype"), fault_catalogue.EVERY_BIT, f"every dtype, {way.__name__}")
        yield from of(partial(way, "small UNet"), fault_catalogue.SETTINGS, f"small UNet, {way.__name__}")
    yield from of(fault_subjects.sample, fault_catalogue.SETTINGS_OF_ONE, "video_resnet")


def _networks(choice: Choice) -> dict[str, MakeSubject]:
    there, back = fault_subjects.there, fault_subjects.back
    found: dict[str, MakeSubject] = {
        "video_resnet": fault_subjects.sample,
        "every kind": partial(there, "every kind"),
    }
    if not choice.reduced:
        found |= {name: partial(there, name) for name in NETWORKS}
        found |= {f"small UNet, {dtype}": partial(there, "small UNet", dtype=dtype) for dtype in DTYPES[1:]}
        found |= {f"{name}, back": partial(back, name) for name in ("small UNet", "every kind")}
    return found


def _findings(
    name: str,
    make: MakeSubject,
    what: fault_catalogue.Make,
    choice: Choice,
    piece: tuple[int, int],
    folder: Path,
) -> Score:
    scene = Scene(make, folder, _random(name), choice.layers)
    score, damaged = Score(), folder / f"damaged{scene.subject.output.suffix}"
    for fault in islice(what(scene), piece[0], None, piece[1]):
        if choice.only.lower() in f"{scene.subject.name} {fault.family}".lower():
            score.findings.append(_finding(scene.subject, fault, damaged))
    return score


def _finding(subject: Subject, fault: Fault, damaged: Path) -> Finding:
    if fault.inject is not None:
        tensors = Tensors(subject.output)
        fault.inject(tensors)
        if not tensors.write(damaged):
            said = "the output is bit for bit the right one"
            return Finding(subject.name, fault.family, fault.what, "hidden", said)
    output = damaged if fault.inject else subject.output
    given = {"source_options": subject.options, "write_options": subject.write, **fault.options}
    return judged(subject.name, fault, porter.verify(subject.source, output, **given))


def _right() -> Iterator[Part]:
    """Right conversions: networks there and back in every dtype, and files of random layers."""
    for name in (*NETWORKS, "every kind", "every dtype"):
        for dtype in DTYPES:
            for seed in range(2):
                yield Part(f"right: {name}, {dtype}, {seed}", partial(_right_network, name, dtype, seed))
    yield Part("right: settings", _right_settings)
    yield from _random_files(NORM_FILES, OTHER_FILES)


def _right_reduced() -> Iterator[Part]:
    for name in ("UNet", "every kind"):
        for dtype in DTYPES[:2]:
            yield Part(f"right: {name}, {dtype}", partial(_right_network, name, dtype, 0))
    yield Part("right: settings", _right_settings)
    yield from _random_files(2, 2)


def _random_files(norms: int, others: int) -> Iterator[Part]:
    for make, count in ((random_layers.norms, norms), (random_layers.others, others)):
        for seed in range(count):
            yield Part(f"right: random {make.__name__}, {seed}", partial(_right_random, make, seed))


def _right_network(name: str, dtype: str, seed: int, folder: Path) -> Score:
    score = Score()
    for way in (fault_subjects.there, fault_subjects.back):
        subject = way(name, folder, seed, dtype)
        found = porter.verify(subject.source, subject.output, source_options=subject.options)
        score.add_right(f"{subject.name}, seed {seed}", found)
    return score


def _right_settings(folder: Path) -> Score:
    """The sample with the network that has its settings."""
    subject, score = fault_subjects.sample(folder), Score()
    options = subject.options._replace(net=f"{wrong_settings.__file__}:right")
    score.add_right(subject.name, porter.verify(subject.source, subject.output, source_options=options))
    return score


def _right_random(make: random_layers.Make, seed: int, folder: Path) -> Score:
    score, (source, options) = Score(), random_layers.save(make, seed, folder)
    subject = fault_subjects.converted(source.stem, source, source.with_suffix(".ckpt"), options=options)
    found = porter.verify(source, subject.output, source_options=options, options=Options(seed=seed))
    score.add_right(subject.name, found)
    back = fault_subjects.converted(f"{source.stem}, back", subject.output, folder / "back.safetensors", to="torch")
    score.add_right(back.name, porter.verify(back.source, back.output, options=Options(seed=seed)))
    return score


def _by_command(folder: Path, count: int) -> Score:
    """`bnport verify` itself on `count` damaged outputs of the sample: it must fail with exit code 1 and say so."""
    scene, score = Scene(fault_subjects.sample, folder, _random("command line"), 1), Score()
    subject, damaged = scene.subject, folder / "damaged.ckpt"
    command = [sys.executable, "-c", "from porter.cli import main; main()", "verify"]
    arguments = [subject.source, damaged, "--model", subject.options.model]
    for fault in scene.sample([fault for make in fault_catalogue.VALUES for fault in make(scene)], count):
        tensors = Tensors(subject.output)
        fault.inject(tensors)
        if tensors.write(damaged):
            done = subprocess.run([*command, *arguments], capture_output=True, text=True, check=False)
            failed = done.returncode == 1 and "VERIFICATION FAILED" in done.stdout
            verdict, said = "detected" if failed else "missed", (done.stdout + done.stderr).strip()[-200:]
            score.commands.append(Finding("command line", fault.family, fault.what, verdict, said))
    return score


def _random(name: str) -> np.random.Generator:
    return np.random.default_rng(list(sha256(name.encode()).digest()))
