"""The directive ``drawn``: a figure of ``analysis/``, light and dark, and the script that made it.

It is drawn while the site is built, and again at every build. Those that run a model for long are in git as
pictures, and copied.
"""

import shutil
from importlib import import_module
from pathlib import Path
from typing import ClassVar

from docutils import nodes
from docutils.parsers.rst import directives
from sphinx.util.docutils import SphinxDirective

from analysis.common import FIGURES, save_pictures
from docs import generate

STORED = ("policy-order", "policy-perplexity")


class Drawn(SphinxDirective):
    """A figure by name; its content is the caption, and ``alt`` is for those who cannot see it."""

    required_arguments = 1
    option_spec: ClassVar = {"alt": directives.unchanged_required}
    has_content = True

    def run(self):
        """Return the figure."""
        if not self.options.get("alt") or not self.content:
            raise self.error("drawn: expected an :alt: and a caption")
        name = self.arguments[0]
        try:
            script = generate.script_of(name)
        except ValueError as problem:
            raise self.error(str(problem)) from None
        self.env.note_reread()  # the code that draws may have changed
        draw(name, script, Path(self.env.srcdir) / "_generated" / "figures")
        variants = nodes.container()  # the theme hides a caption that stands directly beside a hidden image
        for variant in ("light", "dark"):
            uri = f"/_generated/figures/{name}-{variant}.svg"
            variants += nodes.image(uri=uri, alt=self.options["alt"], classes=[f"only-{variant}"])
        text, messages = self.parse_inline(f"{' '.join(self.content)} Made by `python -m {script}`.")
        return [nodes.figure("", variants, nodes.caption("", "", *text)), *messages]


def draw(name: str, script: str, folder: Path) -> None:
    """Make the two pictures of a figure."""
    if name in STORED:
        folder.mkdir(parents=True, exist_ok=True)
        for variant in ("light", "dark"):
            shutil.copy(FIGURES / f"{name}-{variant}.svg", folder)
        return

    def save(found: str, *drawn: object, **options: object) -> None:
        if found == name:
            save_pictures(folder, name, *drawn, **options)

    import_module(script).main(save)


def setup(app):
    """Add the directive."""
    app.add_directive("drawn", Drawn)
    return {"parallel_read_safe": True}
