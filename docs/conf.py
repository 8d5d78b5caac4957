"""Sphinx configuration. What is made from code at every build is made by :mod:`docs.generate`."""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from docutils import nodes  # noqa: E402

import minidecilm  # noqa: E402
from docs import generate  # noqa: E402

project = "minidecilm"
author = "the minidecilm contributors"
copyright = author
release = version = minidecilm.__version__

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.mathjax",
    "numpydoc",
    "sphinx_copybutton",
    "sphinx_argparse_cli",
    "sphinx_design",
    "docs.figures",
]
exclude_patterns = ["_build", "_generated", "README.md"]
templates_path = ["_templates"]
default_role = "literal"
highlight_language = "text"
smartquotes = False  # commands are copied

nitpick_ignore = [  # documented elsewhere, and nothing is fetched to look them up
    ("py:class", "concurrent.futures.Executor"),
    ("py:meth", "matplotlib.figure.Figure.subplots"),
]

# Notebooks are executed by their own tests, and shown as they are stored.
nb_execution_mode = "off"
myst_enable_extensions = ["amsmath", "attrs_block", "attrs_inline", "colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 3

mathjax_path = "mathjax/tex-svg.js"  # in _static: a page loads nothing from elsewhere

autodoc_mock_imports = ["cupy"]  # not everybody has a GPU
autodoc_default_options = {"special-members": "__call__"}
autodoc_member_order = "bysource"
add_module_names = False
autodoc_typehints = "none"  # docstrings say more: shapes and storage
autosummary_generate = True
autosummary_context = {
    "homes": {
        package: generate.homes(package)
        for package in ("minidecilm", "minidecilm.bench", "minidecilm.costs", "minidecilm.plots")
    }
}
numpydoc_show_class_members = False

html_theme = "pydata_sphinx_theme"
html_title = "minidecilm"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_show_sourcelink = False
html_context = {"default_mode": "auto"}  # without it the theme complains on the console
html_theme_options = {
    "navbar_align": "left",
    "header_links_before_dropdown": 7,
    "show_toc_level": 2,
    "secondary_sidebar_items": ["page-toc"],
    "footer_start": ["copyright"],
    "footer_end": ["theme-version"],
    "pygments_light_style": "a11y-high-contrast-light",
    "pygments_dark_style": "a11y-high-contrast-dark",
}
html_sidebars = {page: [] for page in ("index", "benchmarks", "explorer")}  # no pages below them


def _find_home(app, env, node, contnode):
    """Lead a name to where it is described: the module that defines it, not one that imports it."""
    domain, target = env.get_domain("py"), node["reftarget"]
    if node.get("refdomain") != "py":
        return None
    within = [module for module in domain.modules if target.startswith(f"{module}.")]
    module = max(within, key=len, default=node.get("py:module"))
    name, dot, rest = target.removeprefix(f"{module}.").partition(".")
    home = generate.homes(module).get(name) if module else None
    if home is None:
        return None
    node["reftarget"] = f"{home}{dot}{rest}"
    return domain.resolve_xref(
        env, node["refdoc"], app.builder, node["reftype"], node["reftarget"], node, contnode
    )


def _show_examples(app, doctree):
    """Make a block that can be copied of the example that ends the help of every command."""
    for paragraph in list(doctree.findall(nodes.paragraph)):
        _, found, command = paragraph.astext().partition("example: minidecilm ")
        if found and app.env.docname == "reference/command_line":
            block = nodes.literal_block(text=f"minidecilm {command}", language="console")
            paragraph.replace_self([nodes.paragraph(text="Example:"), block])


def setup(app):
    app.connect("builder-inited", lambda app: generate.main(Path(app.srcdir)))
    app.connect("doctree-read", _show_examples)
    app.connect("missing-reference", _find_home)
