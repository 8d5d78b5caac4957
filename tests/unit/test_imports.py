"""What may import what, and that `import minidecilm` stays light."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "minidecilm"

# Rooms from the bottom up: a module imports from lower rows and from its own.
ROWS = [
    {"errors", "files", "progress", "ops"},
    {"config", "config_keys"},
    {"presets", "tokenizer"},
    {"weights"},
    {"costs", "rope", "trace"},
    {"backends"},
    {"cache", "catalog", "observe", "sampling"},
    {"plots"},
    {"model"},
    {"generation"},
    {"api"},
    {"experiments", "bench"},
    {"__init__"},
    {"cli"},
    {"__main__"},
]
ROW = {name: number for number, row in enumerate(ROWS) for name in row}

# Each heavy package is imported in exactly one file, and only when used.
ONE_FILE = {
    "sentencepiece": "tokenizer",
    "tqdm": "progress",
    "huggingface_hub": "catalog",
    "matplotlib": "plots",
    "gguf": "weights",
    "safetensors": "weights",
}
NEVER = {"torch", "transformers", "pickle"}

# These stand at the top of files, since they compile what stands there; so a folder is loaded only when used.
FOLDERS = {"numba": "numba_backend", "llvmlite": "numba_backend", "cupy": "cupy_backend"}
BACKENDS_IMPORT = {"ops", "weights", "config", "costs", "progress", "errors", "files"}


def modules():
    return sorted(path for path in PACKAGE.rglob("*.py") if "demo" not in path.parts)


def room(path):
    part = path.relative_to(PACKAGE).parts[0]
    return part.removesuffix(".py")


def imports(path):
    """Yield (imported module, line is at the top of the file) of every import."""
    tree = ast.parse(path.read_text())
    top = set(tree.body)
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, node in top
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            if node.module == "minidecilm":
                for alias in node.names:
                    is_module = (PACKAGE / alias.name).is_dir() or (PACKAGE / f"{alias.name}.py").exists()
                    yield f"minidecilm.{alias.name if is_module else '__init__'}", node in top
            else:
                yield node.module, node in top


def violations(path, found):
    """List what a module must not import."""
    here = room(path)
    for name, at_top in found:
        package, *rest = name.split(".")
        for folder in set(FOLDERS.values()):
            if name.startswith(f"minidecilm.backends.{folder}") and at_top and folder not in path.parts:
                yield f"{here} imports {name}: only inside a function"
        if package == "minidecilm":
            there = rest[0] if rest else "__init__"
            if there == here:
                continue
            if ROW[there] > ROW[here]:
                yield f"{here} imports {there}, which stands above it"
            if here == "backends" and there not in BACKENDS_IMPORT:
                yield f"{here} imports {there}: backends import {', '.join(sorted(BACKENDS_IMPORT))} only"
            if there == "backends" and ROW[here] < ROW["model"] and name != "minidecilm.backends.host":
                yield f"{here} imports {name}: below the model only backends.host"
        elif package in FOLDERS:
            if FOLDERS[package] not in path.parts:
                yield f"{here} imports {package}: only backends/{FOLDERS[package]} may"
        elif package in NEVER:
            yield f"{here} imports {package}"
        elif package in ONE_FILE and (at_top or here != ONE_FILE[package]):
            yield f"{here} imports {package}: only {ONE_FILE[package]} may, inside a function"


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_import_rules(path):
    assert list(violations(path, imports(path))) == []


@pytest.mark.parametrize(
    ("module", "found"),
    [
        ("ops.py", ("minidecilm.model", True)),
        ("ops.py", ("minidecilm.backends", False)),
        ("model.py", ("torch", False)),
        ("cli/main.py", ("sentencepiece", False)),
        ("tokenizer/__init__.py", ("sentencepiece", True)),
        ("backends/host.py", ("minidecilm.cache", True)),
        ("backends/host.py", ("numba", False)),
        ("cli/info.py", ("matplotlib", False)),
        ("weights/adapters.py", ("safetensors", True)),
        ("api.py", ("safetensors", False)),
        ("plots/style.py", ("matplotlib.figure", True)),
        ("bench/limits.py", ("minidecilm.backends.numba_backend", True)),
        ("backends/numba_backend/linear.py", ("cupy", True)),
        ("backends/__init__.py", ("minidecilm.backends.cupy_backend", True)),
    ],
)
def test_import_rules_can_fail(module, found):
    assert list(violations(PACKAGE / module, [found]))


def test_config_needs_the_standard_library_only():
    for name in ("config.py", "config_keys.py", "errors.py", "presets.py", "files.py"):
        for module, _ in imports(PACKAGE / name):
            package = module.split(".")[0]
            assert package == "minidecilm" or package in sys.stdlib_module_names, f"{name} imports {module}"


def test_nothing_imports_the_rooms_outside_the_package():
    for path in modules():
        for name, _ in imports(path):
            assert name.split(".")[0] not in {
                "analysis",
                "notebooks",
                "docs",
                "benchmarks",
                "training",
                "tests",
            }


def run_fresh(code):
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    ).stdout.split()


def test_import_loads_nothing_heavy():
    heavy = [
        "numba",
        "cupy",
        "matplotlib",
        "sentencepiece",
        "tqdm",
        "huggingface_hub",
        "gguf",
        "safetensors",
        "torch",
    ]
    code = f"import sys, minidecilm; print(*[m for m in {heavy} if m in sys.modules])"
    assert run_fresh(code) == []
    assert run_fresh("import sys, minidecilm.cli.main; print('matplotlib' in sys.modules)") == ["False"]
    assert run_fresh("import sys, sentencepiece; print('sentencepiece' in sys.modules)") == ["True"]


def test_names_are_loaded_on_first_use():
    import minidecilm

    assert all(getattr(minidecilm, name) is not None for name in minidecilm.__all__)
    assert set(minidecilm.__all__) <= set(dir(minidecilm))
    assert minidecilm.weights.safetensors_file.__name__ == "minidecilm.weights.safetensors_file"
    with pytest.raises(AttributeError, match="nonsense"):
        minidecilm.nonsense  # noqa: B018
