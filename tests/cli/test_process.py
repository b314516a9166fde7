"""What only a process of its own shows: imports, memory, signals, terminals."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from nets import two_norms

from porter.formats import safetensors
from porter.formats.dtypes import FLOAT32
from porter.formats.model import TensorSpec
from porter.formats.writing import write_layout

RUN = "import sys; from porter import cli; sys.argv[0] = 'bnport'; code = cli.run(); "


MAIN = [sys.executable, "-c", "from porter import cli; cli.main()"]


def python(code: str, *arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", code, *arguments]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)


def sparse(path: Path, tensors: int, megabytes: int) -> None:
    """A .safetensors of that many tensors of that size, all zero, taking no space on disk."""
    specs = [TensorSpec(f"conv{i}.weight", FLOAT32, (megabytes << 12, 1, 4, 4, 4)) for i in range(tensors)]
    layout = safetensors.layout(specs, metadata={"format": "pt"})
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT)
    write_layout(descriptor, layout._replace(slots={}), lambda name: [])
    os.ftruncate(descriptor, layout.size)
    os.close(descriptor)


@pytest.mark.parametrize(
    "arguments",
    [
        ("convert", "net.pth", "-o", "out.ckpt", "--no-verify"),
        ("convert", "net.pth", "-o", "out.safetensors", "--no-verify"),
        ("convert", "legacy.pth", "-o", "out.ckpt", "--no-verify"),
        ("convert", "net.ckpt", "-o", "out.pth", "--no-verify"),
        ("inspect", "net.pth"),
        ("--help",),
    ],
)
def test_conversion_imports_no_framework(arguments: tuple[str, ...], tmp_path: Path) -> None:
    """Both frameworks are made unimportable; the conversion must not notice."""
    torch.save(two_norms().state_dict(), tmp_path / "net.pth")
    torch.save(two_norms().state_dict(), tmp_path / "legacy.pth", _use_new_zipfile_serialization=False)
    hidden = "import sys; sys.modules['torch'] = sys.modules['mindspore'] = None; "
    made = python(hidden + RUN, "convert", "net.pth", "-o", "net.ckpt", "--no-verify", cwd=tmp_path)
    assert made.returncode == 0, made.stderr
    done = python(hidden + RUN + "sys.exit(code)", *arguments, cwd=tmp_path)
    assert done.returncode == 0, done.stderr


def test_without_frameworks_a_conversion_is_loudly_unverified(tmp_path: Path) -> None:
    torch.save(two_norms().state_dict(), tmp_path / "net.pth")
    hidden = "import sys; sys.modules['torch'] = sys.modules['mindspore'] = None; "
    done = python(hidden + RUN + "sys.exit(code)", "convert", "net.pth", "-o", "net.ckpt", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "NOT VERIFIED" in done.stdout
    strict = python(hidden + RUN + "sys.exit(code)", "convert", "net.pth", "-o", "x.ckpt", "--verify", cwd=tmp_path)
    assert strict.returncode == 5
    assert not (tmp_path / "x.ckpt").exists()


def test_start_up_imports_neither_numpy_nor_rich(tmp_path: Path) -> None:
    code = RUN + "print([m for m in ('numpy', 'rich', 'torch', 'mindspore') if m in sys.modules])"
    done = python(code, "--help", cwd=tmp_path)
    assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize("names", [("net.pth", "net.ckpt"), ("net.ckpt", "back.pth"), ("net.pth", "x.safetensors")])
def test_a_plain_conversion_imports_only_what_it_runs(tmp_path: Path, names: tuple[str, str]) -> None:
    """Its own modules but for the few that say what options there are; every import is a part of each conversion."""
    torch.save(two_norms().state_dict(), tmp_path / "net.pth")
    plain = ("--no-verify", "-q")
    assert python(RUN, "convert", "net.pth", "-o", "net.ckpt", *plain, cwd=tmp_path).returncode == 0
    code = RUN + "print(code, *sorted(sys.modules))"
    done = python(code, "convert", names[0], "-o", names[1], *plain, "--force", cwd=tmp_path)
    result, *modules = done.stdout.split()
    heavy = ("numpy", "rich", "logging", "email", "concurrent", "importlib.metadata", "zipfile", "hashlib", "decimal")
    told_options = {"porter.verification.options", "porter.optimizer.classes"}
    ours = {m for m in modules if m.startswith(("porter.verification.", "porter.optimizer.", "porter.configs"))}
    assert result == "0"
    assert not set(heavy) & set(modules)
    assert ours == told_options
    assert not {"porter.network", "porter.align", "porter.target", "porter.port_rules", "porter.proof"} & set(modules)


def test_memory_does_not_grow_with_the_checkpoint(tmp_path: Path) -> None:
    """20 MB against 400 MB, in tensors of 10 MB: peak memory may differ by the tensor list alone."""
    # VmHWM is this program's own peak; ru_maxrss would hold that of the test process it was forked from.
    code = RUN + "print(code, open('/proc/self/status').read().split('VmHWM:')[1].split()[0])"
    peaks = []
    for tensors in (2, 40):
        sparse(tmp_path / "net.safetensors", tensors, 10)
        done = python(
            code, "convert", "net.safetensors", "-o", "net.ckpt", "--no-verify", "-q", "--force", cwd=tmp_path
        )
        result, kilobytes = done.stdout.split()[-2:]
        assert result == "0", done.stderr
        peaks.append(int(kilobytes) / 1024)
    assert abs(peaks[1] - peaks[0]) < 8
    assert max(peaks) < 80


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_leaves_nothing_behind(number: int, tmp_path: Path) -> None:
    sparse(tmp_path / "net.safetensors", 100, 100)
    (tmp_path / "net.ckpt").write_text("old")
    # Where the tests run under nohup, or in a shell's background, some of these signals are ignored from the start.
    heeds = f"import signal; signal.signal({int(number)}, signal.SIG_DFL); "
    command = [sys.executable, "-c", heeds + MAIN[-1], "convert", "net.safetensors", "-o", "net.ckpt", "--no-verify"]
    process = subprocess.Popen([*command, "--force"], cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    while not list(tmp_path.glob(".net.ckpt.*")):
        assert process.poll() is None, process.stderr.read() if process.stderr else ""
        time.sleep(0.01)
    process.send_signal(number)
    process.communicate(timeout=30)
    assert process.returncode == 128 + number
    assert {path.name for path in tmp_path.iterdir()} == {"net.safetensors", "net.ckpt"}
    assert (tmp_path / "net.ckpt").read_text() == "old"


@pytest.mark.parametrize("delay", [0.1, 0.4, 0.8])
def test_a_signal_while_a_framework_is_imported_ends_the_process(delay: float, tmp_path: Path) -> None:
    """The import may swallow it, and the interpreter's end with a framework half imported would abort (-6)."""
    torch.save(two_norms().state_dict(), tmp_path / "net.pth")
    prints = (
        "check = files.verify_output; files.verify_output = lambda *given: (print(flush=True), check(*given))[1]; "
    )
    imports = "from porter import cli; from porter.verification import files; "
    command = [sys.executable, "-c", f"{imports}{prints}cli.main()"]
    command += ["convert", "net.pth", "-o", "net.ckpt"]
    process = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout
    process.stdout.readline()
    time.sleep(delay)
    process.send_signal(signal.SIGTERM)
    _, error = process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGTERM, error
    # C++ code that is stopped while it imports Python's modules prints their traceback before it gives up.
    assert error.endswith(b"interrupted\n")
    assert b"fault in bnport" not in error
    assert [path.name for path in tmp_path.iterdir()] == ["net.pth"]


def test_a_signal_that_an_import_swallowed_is_remembered(tmp_path: Path) -> None:
    torch.save(two_norms().state_dict(), tmp_path / "net.pth")
    swallows = (
        "def swallowing(*_):\n"
        " try: os.kill(os.getpid(), signal.SIGTERM); time.sleep(1)\n"
        " except BaseException: pass\n"
        " return real(*_)\n"
    )
    code = "import os, signal, time\nfrom porter import cli\nfrom porter.api import preparing\n"
    code += f"real = preparing.plan_for\n{swallows}"
    code += "preparing.plan_for = swallowing\ncli.main()"
    done = python(code, "convert", "net.pth", "-o", "net.ckpt", "--no-verify", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (128 + signal.SIGTERM, "interrupted\n")
    assert [path.name for path in tmp_path.iterdir()] == ["net.pth"]


def test_what_is_ignored_from_the_start_stays_ignored(tmp_path: Path) -> None:
    """As `nohup` does with SIGHUP."""
    code = (
        "import os, signal, porter.cli as cli; signal.signal(signal.SIGHUP, signal.SIG_IGN); "
        "cli.run = lambda: os.kill(os.getpid(), signal.SIGHUP) or 0; cli.main()"
    )
    assert python(code, cwd=tmp_path).returncode == 0


COMMANDS = [("inspect", "net.safetensors"), ("inspect", "net.safetensors", "--json"), ("doctor",), ("--help",)]


@pytest.mark.parametrize("arguments", [*COMMANDS, ("convert", "net.safetensors", "-o", "x.ckpt", "--no-verify")])
def test_an_output_that_cannot_be_printed_is_an_io_error(arguments: tuple[str, ...], tmp_path: Path) -> None:
    sparse(tmp_path / "net.safetensors", 2, 1)
    with open("/dev/full", "w") as full:
        done = subprocess.run([*MAIN, *arguments], cwd=tmp_path, stdout=full, stderr=subprocess.PIPE, text=True)
    assert done.returncode == 6, done.stderr
    assert "No space left on device" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("arguments", COMMANDS)
def test_a_closed_output_is_no_failure(arguments: tuple[str, ...], tmp_path: Path) -> None:
    sparse(tmp_path / "net.safetensors", 2, 1)
    command = " ".join(["exec", '"$@"', ">&-"])
    done = subprocess.run(["sh", "-c", command, "sh", *MAIN, *arguments], cwd=tmp_path, stderr=subprocess.PIPE)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("arguments", COMMANDS)
def test_a_reader_that_goes_away_is_no_failure(arguments: tuple[str, ...], tmp_path: Path) -> None:
    """`bnport inspect x | head -1`, with the reader gone before the first line."""
    sparse(tmp_path / "net.safetensors", 2, 1)
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run([*MAIN, *arguments], cwd=tmp_path, stdout=writing, stderr=subprocess.PIPE)
    os.close(writing)
    assert (done.returncode, done.stderr) == (0, b"")


def test_names_are_whole_where_no_terminal_is(tmp_path: Path) -> None:
    name = "a_very_long_name_of_a_module." * 8 + "weight"
    torch.save({name: torch.ones(2, 1, 3, 3, 3)}, tmp_path / "net.pth")
    environment = {key: value for key, value in os.environ.items() if key != "COLUMNS"}
    for arguments in (("inspect", "net.pth"), ("convert", "net.pth", "-o", "x.ckpt", "--dry-run")):
        done = subprocess.run([*MAIN, *arguments], cwd=tmp_path, capture_output=True, text=True, env=environment)
        assert name.removesuffix(".weight") in done.stdout


def test_a_second_signal_ends_what_prints_to_a_reader_that_stalled(tmp_path: Path) -> None:
    code = (
        "import time; from porter import cli, stopping; "
        "cli.run = lambda: (stopping.decided(), stopping.settled(), print(flush=True), time.sleep(60)); cli.main()"
    )
    process = subprocess.Popen([sys.executable, "-c", code], cwd=tmp_path, stdout=subprocess.PIPE)
    assert process.stdout
    process.stdout.readline()
    process.send_signal(signal.SIGTERM)
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(timeout=0.5)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=30)
    assert process.returncode == -signal.SIGTERM


PUBLISHING = {"link": (), "unlink": (), "listdir": (), "rmdir": (), "replace": ("--force",), "fsync": ("--force",)}


@pytest.mark.parametrize("call", PUBLISHING)
def test_a_signal_that_comes_once_the_output_is_in_place_comes_too_late(call: str, tmp_path: Path) -> None:
    """The exit code must not deny what lies there: all is whole, the record beside it, nothing else left."""
    torch.save(two_norms().state_dict(), tmp_path / "net.pth")
    if PUBLISHING[call]:
        (tmp_path / "net.ckpt").write_text("old")
    code = (
        f"import os, signal\nfrom porter import cli, conversion\nreal, publish = os.{call}, conversion.publish\n"
        "def interrupted(*given, **named):\n"
        f" os.{call} = real\n"
        " os.kill(os.getpid(), signal.SIGTERM)\n"
        " done = real(*given, **named)\n"
        " os.kill(os.getpid(), signal.SIGINT)\n"
        " return done\n"
        "def publishing(*given, **named):\n"
        f" os.{call} = interrupted\n"
        " publish(*given, **named)\n"
        "conversion.publish = publishing\ncli.main()"
    )
    done = python(code, "convert", "net.pth", "-o", "net.ckpt", "--no-verify", *PUBLISHING[call], cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert {path.name for path in tmp_path.iterdir()} == {"net.pth", "net.ckpt", "net.ckpt.bnport.json"}
