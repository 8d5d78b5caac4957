"""The pages that are opened, the browser that opens them, and what a page must not do."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from playwright.sync_api import Browser, Page, sync_playwright

PAGES = {
    "landing": "index.html",
    "notebook": "tutorial/05_rotary_and_dynamic_ntk.html",
    "api": "reference/api/minidecilm.ops.html",
    "explorer": "explorer.html",
}
WIDTHS = {"wide": 1280, "phone": 390}
NO_CHROMIUM = "no Chromium: install it (Debian's package is chromium), or set CHROMIUM to its path"


def find_chromium() -> str | None:
    """Path of a Chromium or Chrome: the one that CHROMIUM names, else one on the search path."""
    names = (
        [os.environ["CHROMIUM"]]
        if "CHROMIUM" in os.environ
        else ["chromium", "chromium-browser", "google-chrome"]
    )
    found = next(filter(None, map(shutil.which, names)), None)
    if found is None and "CHROMIUM" in os.environ:
        raise FileNotFoundError(f"CHROMIUM: no program {os.environ['CHROMIUM']!r}")
    return found


@contextmanager
def launch(executable: str) -> Iterator[Browser]:
    flags = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=flags)
        yield browser
        browser.close()


@dataclass
class Seen:
    """A page, and what it complained of and asked for since it was opened."""

    page: Page
    errors: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)

    def wait_for_equations(self) -> None:
        """Wait until MathJax has drawn them; all else is there since the page was opened."""
        self.page.wait_for_function("!window.MathJax || MathJax.startup.promise.then(() => true)")

    def check(self) -> None:
        remote = [url for url in self.requests if not url.startswith(("file:", "data:", "blob:"))]
        problems = [*self.errors, *(f"asked for {url}" for url in remote)]
        assert not problems, "\n".join(problems)


@contextmanager
def opened(browser: Browser, file: Path, scheme: str = "light", width: int = 1280) -> Iterator[Seen]:
    """Open a page from its file, in a browser of its own memory."""
    context = browser.new_context(color_scheme=scheme, viewport={"width": width, "height": 900})
    seen = Seen(context.new_page())
    seen.page.on("console", lambda said: said.type == "error" and seen.errors.append(said.text))
    seen.page.on("pageerror", lambda error: seen.errors.append(str(error)))
    seen.page.on("requestfailed", lambda request: seen.errors.append(f"not found: {request.url}"))
    context.on("request", lambda request: seen.requests.append(request.url))
    seen.page.goto(file.resolve().as_uri())
    yield seen
    context.close()
