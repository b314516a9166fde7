"""A headless Chromium, driven over WebDriver (Debian's chromium and chromium-driver) with nothing but the standard
library."""

from __future__ import annotations

import json
import shutil
import subprocess
import tempfile
from base64 import b64decode
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, build_opener

_FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
)
# WebDriver's names of keys, and of a reference to an element.
KEYS = {
    "Tab": "\ue004",
    "Enter": "\ue007",
    "Left": "\ue012",
    "Right": "\ue014",
    "End": "\ue010",
    "PageDown": "\ue00f",
    "PageUp": "\ue00e",
}
_ELEMENT = "element-6066-11e4-a52e-4f735466cecf"


def missing() -> list[str]:
    """What has to be installed before a browser can be opened."""
    return [program for program in ("chromium", "chromedriver") if shutil.which(program) is None]


@contextmanager
def chromium(*, script: bool = True) -> Iterator[Browser]:
    """A browser with a new, empty profile, gone with everything it wrote at the end."""
    with tempfile.TemporaryDirectory() as folder:
        command = ["chromedriver", "--port=0"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as driver:
            try:
                browser = Browser(_port_of(driver), folder, script)
                try:
                    yield browser
                finally:
                    browser.quit()
            finally:
                driver.terminate()


def _port_of(driver: subprocess.Popen[str]) -> int:
    assert driver.stdout is not None
    for line in driver.stdout:
        if "started successfully on port" in line:
            return int(line.rstrip().rstrip(".").rpartition(" ")[2])
    raise AssertionError("chromedriver ended before it listened")


class Browser:
    """One session; `script` is False for a browser whose JavaScript is switched off."""

    def __init__(self, port: int, profile: str, script: bool) -> None:
        self._base = f"http://127.0.0.1:{port}/session"
        # A proxy of the environment is not for a server on this machine.
        self._opener = build_opener()
        self._opener.handlers = [h for h in self._opener.handlers if type(h).__name__ != "ProxyHandler"]
        options: dict[str, Any] = {"args": [*_FLAGS, f"--user-data-dir={profile}"]}
        if not script:
            options["prefs"] = {"profile.managed_default_content_settings.javascript": 2}
        asked = {"goog:chromeOptions": options, "goog:loggingPrefs": {"browser": "ALL"}}
        session = self._call("POST", "", {"capabilities": {"alwaysMatch": asked}})["sessionId"]
        self._base += f"/{session}"

    def open(self, page: Path) -> None:
        self._call("POST", "/url", {"url": page.resolve().as_uri()})

    def run(self, script: str, *arguments: Any) -> Any:
        """What `return ...` in a script gives; it runs beside the page's own policy."""
        return self._call("POST", "/execute/sync", {"script": script, "args": list(arguments)})

    def click(self, selector: str) -> None:
        self._call("POST", f"/element/{self._find(selector)}/click", {})

    def type(self, selector: str, text: str) -> None:
        self._call("POST", f"/element/{self._find(selector)}/value", {"text": text})

    def press(self, *keys: str) -> None:
        """Press keys one after the other, wherever the focus is."""
        strokes = [{"type": kind, "value": KEYS.get(key, key)} for key in keys for kind in ("keyDown", "keyUp")]
        self._call("POST", "/actions", {"actions": [{"type": "key", "id": "keys", "actions": strokes}]})

    def hover(self, selector: str) -> None:
        origin = {_ELEMENT: self._find(selector)}
        move = {"type": "pointerMove", "duration": 0, "x": 0, "y": 0, "origin": origin}
        mouse = {"type": "pointer", "id": "mouse", "actions": [move]}
        self._call("POST", "/actions", {"actions": [mouse]})

    def text(self, selector: str) -> str:
        return str(self._call("GET", f"/element/{self._find(selector)}/text"))

    def texts(self, selector: str) -> list[str]:
        """Of all elements that fit and are shown."""
        shown = "[...document.querySelectorAll(arguments[0])].filter(element => element.checkVisibility())"
        return list(self.run(f"return {shown}.map(element => element.innerText)", selector))

    def look(self, *, dark: bool = False, width: int = 1200, height: int = 900) -> None:
        """Set the colour scheme and the size of the window's inside."""
        features = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
        self._devtools("Emulation.setEmulatedMedia", {"features": features})
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self._devtools("Emulation.setDeviceMetricsOverride", size)

    def screenshot(self, to: Path) -> None:
        to.write_bytes(b64decode(self._call("GET", "/screenshot")))

    def complaints(self) -> list[str]:
        """What the console says, violations of the page's policy and requests that failed among it."""
        return [entry["message"] for entry in self._call("POST", "/se/log", {"type": "browser"})]

    def quit(self) -> None:
        self._call("DELETE", "")

    def _find(self, selector: str) -> str:
        found = self._call("POST", "/element", {"using": "css selector", "value": selector})
        return str(found[_ELEMENT])

    def _devtools(self, command: str, parameters: dict[str, Any]) -> None:
        self._call("POST", "/goog/cdp/execute", {"cmd": command, "params": parameters})

    def _call(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        request = Request(self._base + path, data, {"Content-Type": "application/json"}, method=method)
        try:
            with self._opener.open(request, timeout=60) as answer:
                return json.load(answer)["value"]
        except HTTPError as error:
            with error:
                raise AssertionError(f"{method} {path}: {error.read().decode()[:2000]}") from None
