"""Which format a file is in, and that its bytes come back as they were."""

from __future__ import annotations

import codecs
import os
from pathlib import Path

import pytest

from porter.configs.files import collect, read
from porter.errors import FileIOError, InputError, LimitExceeded, Malformed, UsageError


def _written(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        # The suffix settles what several formats could be.
        ("a.json", '{"a": 1}', "json"),
        ("a.yaml", '{"a": 1}', "yaml"),
        ("a.py", '{"a": 1}', "python"),
        ("a.YML", "a: 1", "yaml"),
        ("a.toml", "a = 1", "toml"),
        ("a.py", "a: int = 1", "python"),
        ("a.json5", "{a: .5, // b\n}", "json"),
        # The content outweighs a suffix that it cannot be in.
        ("a.json", "a:\n  - 1\n", "yaml"),
        ("a.yaml", "[a]\nb = 1\n", "toml"),
        # Without a suffix that says anything.
        ("a.conf", '{"a": 1} // b', "json"),
        ("a.conf", '{"a": 1e-3}', "json"),
        ("a.conf", "def f():\n  return 1\n", "python"),
        ("a", "[a.b]\nc = 1.5\n", "toml"),
        ("a.txt", "import torch\nbn = dict(momentum=0.1)\n", "python"),
        ("a.txt", "bn = dict(momentum=0.1)\n", "python"),
        ("a.cfg", "a: 1\nb: 0.1\n", "yaml"),
        ("a.cfg", "- a\n- b\n", "yaml"),
        ("a.cfg", "a:\n  b: 1\n---\nc: 2\n", "yaml"),
    ],
)
def test_the_content_decides_the_format(tmp_path: Path, name: str, content: str, expected: str) -> None:
    assert read(_written(tmp_path / name, content)).format == expected


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.json", '{"a": 1,\n "a": 2}', "line 2, column 2: the key 'a' is here twice"),
        ("a.yaml", "a: 1\na: 2\n", "line 2"),
        ("a.py", "def f(:\n", "line 1"),
        ("a.toml", "a = 1\na = 2\n", "is no TOML"),
        ("a.txt", "a sentence", "expected JSON, YAML, TOML or Python"),
        ("a.yaml", "\ufeffé".encode("utf-16"), "is not in utf-8 (found byte 0xff at 0). Save it as UTF-8"),
        ("a.json", b'{"a": "\xe9"}', "is not in utf-8 (found byte 0xe9 at 7)"),
        ("a.py", b"# coding: klingon\n", "declares an encoding that it is not in"),
    ],
)
def test_what_cannot_be_read_says_why_and_where(
    tmp_path: Path, name: str, content: str | bytes, message: str
) -> None:
    path = _written(tmp_path / name, content)
    with pytest.raises(Malformed) as error:
        read(path)
    assert error.value.file == str(path)
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.yaml", codecs.BOM_UTF8 + "a: é\r\n".encode()),
        ("a.json", codecs.BOM_UTF8 + b'{"a": 1}'),
        ("a.py", codecs.BOM_UTF8 + b"a = 1\r\n"),
        ("a.py", "# -*- coding: latin-1 -*-\na = 'é'\n".encode("latin-1")),
        ("a.toml", b"a = 1\r\n"),
        ("a.yaml", b""),
    ],
)
def test_the_bytes_come_back(tmp_path: Path, name: str, content: bytes) -> None:
    file = read(_written(tmp_path / name, content))
    assert not file.document.text.startswith("\ufeff")
    assert file.encoded(file.document.text) == content


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.yaml")
    with pytest.raises(InputError, match="is no file"):
        read(tmp_path / "pipe.yaml")
    with pytest.raises(FileIOError, match="No such file"):
        read(tmp_path / "none.yaml")


def test_a_huge_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    with path.open("wb") as file:
        file.truncate((1 << 26) + 1)
    with pytest.raises(LimitExceeded):
        read(path)


def test_a_folder_stands_for_its_configs(tmp_path: Path) -> None:
    for name in ("b.yaml", "a.py", "a.py.bak", "b.yaml.bnport.json", "read.me", "x/c.TOML", ".git/d.yaml", ".e.json"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        _written(tmp_path / name, "")
    assert [name for _, name in collect([tmp_path])] == ["a.py", "b.yaml", "x/c.TOML"]
    # A file that is named is one whatever it is called.
    assert collect([tmp_path / "read.me"]) == [(tmp_path / "read.me", "read.me")]
    with pytest.raises(UsageError, match="two files would have the same name"):
        collect([tmp_path, tmp_path / "b.yaml"])
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match="holds no config"):
        collect([tmp_path / "empty"])
