"""A headless Chromium of the system, driven by its DevTools protocol over two pipes: nothing beyond the standard library."""

from __future__ import annotations

import base64
import json
import os
import select
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

PROGRAM = next(
    (found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))), None
)
_OPTIONS = ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run")
_PATIENCE = 60
_KEYS = {"ArrowRight": 39, "ArrowDown": 40, "Escape": 27, "Tab": 9, " ": 32}


class Browser:
    """One tab.

    Attributes:
        complaints: what the page wrote to the console, errors that nobody caught, and what its policy or the network refused.
    """

    def __init__(self, write: int, read: int) -> None:
        self._write, self._read = write, read
        self._buffer = b""
        self._number = 0
        self._session: str | None = None
        self._events: list[str] = []
        self.complaints: list[str] = []
        target = self._call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self._call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self._call(f"{domain}.enable")

    def open(self, page: Path, *, width: int = 1200, height: int = 900, dark: bool = False) -> None:
        """Open a file as a screen of this size would show it, and wait until it is there."""
        self.resize(width, height)
        self.show_as("screen", dark=dark)
        self._events.clear()
        self._call("Page.navigate", url=page.absolute().as_uri())
        while "Page.loadEventFired" not in self._events:
            self._take()

    def resize(self, width: int, height: int) -> None:
        """Make the screen another size; narrow ones are phones."""
        options = {"deviceScaleFactor": 1, "mobile": width < 500}
        self._call("Emulation.setDeviceMetricsOverride", width=width, height=height, **options)

    def show_as(self, medium: str, *, dark: bool = False) -> None:
        """Show the page as on a screen or on paper, to a reader who prefers dark pages or not."""
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self._call("Emulation.setEmulatedMedia", media=medium, features=[scheme])

    def ask(self, expression: str) -> Any:
        """The value of a JavaScript expression in the page."""
        answer = self._call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in answer:
            raise AssertionError(answer["exceptionDetails"])
        return answer["result"].get("value")

    def press(self, *keys: str) -> None:
        """Press keys, one after another."""
        for key in keys:
            text = {"text": key} if len(key) == 1 else {}
            pressed = {"key": key, "code": "Space" if key == " " else key, "windowsVirtualKeyCode": _KEYS[key]}
            self._call("Input.dispatchKeyEvent", type="keyDown", **pressed, **text)
            self._call("Input.dispatchKeyEvent", type="keyUp", **pressed)

    def tap(self, selector: str) -> None:
        """Bring the middle of an element into view and tap on it."""
        box = f"(e => (e.scrollIntoView({{block: 'center', behavior: 'instant'}}), e.getBoundingClientRect()))(document.querySelector({json.dumps(selector)}))"
        x, y = self.ask(f"(b => [b.x + b.width / 2, b.y + b.height / 2])({box})")
        self._call("Input.dispatchTouchEvent", type="touchStart", touchPoints=[{"x": x, "y": y}])
        self._call("Input.dispatchTouchEvent", type="touchEnd", touchPoints=[])

    def screenshot(self, path: Path, *, whole: bool = True) -> None:
        """A picture of the page."""
        image = self._call("Page.captureScreenshot", format="png", captureBeyondViewport=whole, **self._clip(whole))
        path.write_bytes(base64.b64decode(image["data"]))

    def print(self, path: Path) -> None:
        """The page as it would be printed."""
        path.write_bytes(base64.b64decode(self._call("Page.printToPDF", printBackground=True)["data"]))

    def _clip(self, whole: bool) -> dict[str, Any]:
        if not whole:
            return {}
        size = self._call("Page.getLayoutMetrics")["cssContentSize"]
        return {"clip": {"x": 0, "y": 0, "width": size["width"], "height": size["height"], "scale": 1}}

    def _call(self, method: str, **params: Any) -> dict[str, Any]:
        self._number += 1
        message: dict[str, Any] = {"id": self._number, "method": method, "params": params}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._write, json.dumps(message).encode() + b"\0")
        while (answer := self._take()).get("id") != self._number:
            pass
        if "error" in answer:
            raise AssertionError(f"{method}: {answer['error']}")
        result: dict[str, Any] = answer["result"]
        return result

    def _take(self) -> dict[str, Any]:
        """The next message; what is an event is noted."""
        while b"\0" not in self._buffer:
            if not select.select([self._read], [], [], _PATIENCE)[0]:
                raise AssertionError(f"the browser has said nothing for {_PATIENCE} s")
            if not (chunk := os.read(self._read, 1 << 16)):
                raise AssertionError("the browser has ended")
            self._buffer += chunk
        raw, _, self._buffer = self._buffer.partition(b"\0")
        message: dict[str, Any] = json.loads(raw)
        self._note(message.get("method", ""), message.get("params", {}))
        return message

    def _note(self, event: str, content: dict[str, Any]) -> None:
        self._events.append(event)
        if event in ("Runtime.consoleAPICalled", "Runtime.exceptionThrown", "Log.entryAdded"):
            self.complaints.append(json.dumps(content)[:2000])
        url = content.get("request", {}).get("url", "")
        if event == "Network.requestWillBeSent" and not url.startswith(("file:", "data:")):
            self.complaints.append(f"asked the network for {url}")


@contextmanager
def browser(profile: Path) -> Iterator[Browser]:
    """A browser with a new profile."""
    assert PROGRAM is not None
    to_it, write = os.pipe()
    read, from_it = os.pipe()
    # The protocol's pipes are descriptors 3 and 4 of the browser.
    command = f'exec "$0" "$@" 3<&{to_it} 4>&{from_it}'
    options = (*_OPTIONS, "--remote-debugging-pipe", f"--user-data-dir={profile}", "about:blank")
    process = subprocess.Popen(
        ["/bin/bash", "-c", command, PROGRAM, *options],
        pass_fds=(to_it, from_it),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    os.close(to_it)
    os.close(from_it)
    try:
        yield Browser(write, read)
    finally:
        with suppress(OSError):
            os.close(write)  # it ends when nobody can speak to it any more
        try:
            process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        os.close(read)
