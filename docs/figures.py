"""The directive ``drawn``: a figure of ``analysis/figures``, light and dark, and the script that made it."""

from typing import ClassVar

from docutils import nodes
from docutils.parsers.rst import directives
from sphinx.util.docutils import SphinxDirective

from docs import generate


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
        variants = nodes.container()  # the theme hides a caption that stands directly beside a hidden image
        for variant in ("light", "dark"):
            uri = f"/_generated/figures/{name}-{variant}.svg"
            variants += nodes.image(uri=uri, alt=self.options["alt"], classes=[f"only-{variant}"])
        text, messages = self.parse_inline(f"{' '.join(self.content)} Made by `{script}`.")
        return [nodes.figure("", variants, nodes.caption("", "", *text)), *messages]


def setup(app):
    """Add the directive."""
    app.add_directive("drawn", Drawn)
    return {"parallel_read_safe": True}
