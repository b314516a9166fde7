"""README.md promises nothing that is not so: its commands are run, in order, and must print what it shows.

How to write a command there:
- in a ```console block, each after `$ `; it runs where `samples/` is, in one folder for the whole README;
- what it prints follows, standard error included, as on a terminal 100 columns wide;
- `...` in the output stands for anything, on a line of its own for any lines;
- numbers such as 2e-07, 19% or 2e+05x are measurements: any such number will do, and any name of a check before it;
- `# exit 1` at the end of a command says which exit code it ends with, if not 0.
The two commands of the ```sh blocks, marked `<!-- ci: ... -->`, are left to .ci/run.
"""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text("utf-8")
# Which of them comes closest to its bound depends on the machine.
CHECKS = "eval after training|eval gradients|train gradients|edge inputs|statistics|eval|train"


def commands(text):
    """(command, expected exit code, expected output) of every console block."""
    found = []
    for block in re.findall(r"^```console\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
        assert block.startswith("$ "), f"a console block begins with a command: {block.splitlines()[0]}"
        for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            command, _, output = part.partition("\n")
            code = re.search(r"# exit (\d+)$", command)
            found.append((command, int(code.group(1)) if code else 0, output))
    return found


def shows(expected, printed):
    """Whether `printed` is what the README shows as `expected`."""
    pieces = (re.escape(piece) for piece in normal(expected).split("..."))
    return re.fullmatch(".*".join(pieces), normal(printed)) is not None


def normal(text):
    """One line, one space between words, every measurement the same."""
    text = " ".join(re.sub(r"\d(\.\d+)?e[+-]\d+x?|\b\d+%", "<measured>", text).split())
    return re.sub(f"(?:{CHECKS}) <measured>", "<measured>", text)


def test_every_command_does_and_prints_what_the_readme_shows(tmp_path):
    unwanted = shutil.ignore_patterns("__pycache__", "converted")
    shutil.copytree(ROOT / "samples", tmp_path / "samples", ignore=unwanted)
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = os.environ | {"PATH": path, "COLUMNS": "100", "NO_COLOR": "1"}
    todo = commands(README)
    assert todo, "the README shows no command"
    for command, code, output in todo:
        done = subprocess.run(
            ["bash", "-c", command],
            cwd=tmp_path,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=300,
            check=False,
        )
        assert done.returncode == code, f"$ {command}\n{done.stdout}"
        assert shows(output, done.stdout), f"$ {command}\nprints\n{done.stdout}\nREADME.md shows\n{output}"


@pytest.mark.parametrize("mark", ["sample", "tests"])
def test_the_commands_that_ci_runs_are_one_line_each(mark):
    block = re.search(rf"^<!-- ci: {mark} -->\n```sh\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
    assert block, f".ci/run looks for a sh block right after <!-- ci: {mark} -->"
    assert block.group(1).count("\n") == 1


@pytest.mark.parametrize(
    ("expected", "printed"),
    [
        ("VERIFIED 53 tensors\n", "VERIFIED  53\ntensors\n"),
        ("ok  bn1  19%  4e-07/2e-06\n", "ok  bn1  7%   1.5e-08/2e-06\n"),
        ("ok  bn1  eval  19%\n", "ok  bn1  eval gradients  21%\n"),
        ("first\n...\nlast\n", "first\nsecond\nthird\nlast\n"),
        ("numpy 1...\n", "numpy 1.26.4\n"),
        ("", ""),
    ],
)
def test_what_counts_as_shown(expected, printed):
    assert shows(expected, printed)


@pytest.mark.parametrize(
    ("expected", "printed"),
    [
        ("VERIFIED 53 tensors\n", "VERIFIED 54 tensors\n"),
        ("VERIFIED\n", "VERIFIED\nand one line more\n"),
        ("VERIFIED\nnote\n", "VERIFIED\n"),
        ("first\n...\nlast\n", "first\nsecond\n"),
        ("", "a warning\n"),
        ("ok  bn1  19%\n", "NO  bn1  19%\n"),
    ],
)
def test_what_does_not(expected, printed):
    assert not shows(expected, printed)


def test_commands_are_taken_apart():
    text = "text\n```console\n$ one\nprints\n$ two  # exit 4\n```\n```sh\nnot this\n```\n"
    assert commands(text) == [("one", 0, "prints\n"), ("two  # exit 4", 4, "")]


# The README's benchmarks, and the options with which they take seconds instead of minutes.
QUICK = {
    "tests/benchmarks/faults.py": ["--reduced", "--only", "the network's settings"],
    "tests/benchmarks/convert.py": ["--sizes", "8", "--counts", "10", "--rounds", "1"],
    "tests/benchmarks/reading.py": ["--rounds", "1", "--only", "1,000 .safetensors"],
    "tests/benchmarks/recognition.py": ["--only", "vnet"],
    "tests/benchmarks/verify.py": ["--rounds", "1", "--only", "video_resnet"],
}


def test_every_benchmark_of_the_readme_is_tried():
    blocks = "".join(re.findall(r"^```sh\n(.*?)^```$", README, re.MULTILINE | re.DOTALL))
    assert set(re.findall(r"^python (\S+)", blocks, re.MULTILINE)) == set(QUICK)


@pytest.mark.slow
@pytest.mark.parametrize("script", QUICK)
def test_the_readmes_benchmarks_run(script):
    done = subprocess.run(
        [sys.executable, script, *QUICK[script]], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout
