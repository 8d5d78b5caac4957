"""Pictures of the site, wide and narrow, light and dark: ``python -m tests.browser.screenshots OUT``."""

import argparse
import sys
from itertools import product
from pathlib import Path

from tests.browser.pages import NO_CHROMIUM, PAGES, WIDTHS, find_chromium, launch, opened
from tests.docs.site import ROOT, build


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path, help="folder for NAME-wide-light.png and so on")
    parser.add_argument(
        "pages",
        nargs="*",
        help=f"files of the built site, such as glossary.html (default: {', '.join(PAGES)})",
    )
    chosen = parser.parse_args(arguments)
    executable = find_chromium()
    if executable is None:
        sys.exit(NO_CHROMIUM)
    site = ROOT / "docs" / "_build" / "html"
    build(site)
    chosen.out.mkdir(parents=True, exist_ok=True)
    pages = {page.removesuffix(".html").replace("/", "-"): page for page in chosen.pages} or PAGES
    with launch(executable) as browser:
        for (name, page), (size, width), scheme in product(pages.items(), WIDTHS.items(), ("light", "dark")):
            with opened(browser, site / page, scheme, width) as seen:
                seen.wait_for_equations()
                file = chosen.out / f"{name}-{size}-{scheme}.png"
                seen.page.screenshot(path=file, full_page=True)
                print(file)


if __name__ == "__main__":
    main()
