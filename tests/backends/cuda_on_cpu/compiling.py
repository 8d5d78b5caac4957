"""Compile the text of a .cu file for the CPU (g++, cuda_on_cpu.hpp) and launch it; or try nvcc on it."""

import ctypes
import hashlib
import os
import re
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

HEADER = Path(__file__).with_name("cuda_on_cpu.hpp")
FLAGS = (
    *("-std=c++17", "-O2", "-march=native", "-fPIC", "-fvisibility=hidden", "-fno-strict-aliasing"),
    "-U_FORTIFY_SOURCE",  # its longjmp would not leave a fiber
    # One rounding only where the kernels say fmaf: then results are the same on every CPU. (nvcc fuses more.)
    "-ffp-contract=off",
    # Handled by cuda_on_cpu.hpp: each is an error on a GPU, or undefined, and none would show on a CPU.
    "-fsanitize=alignment,bounds,shift-exponent,integer-divide-by-zero",
    "-Werror=frame-larger-than=65536",
)
ORDERS = {"forward": 0, "backward": 1}
SHUFFLED = 2
COMPILE = threading.Lock()

KERNEL = re.compile(
    r'extern\s*"C"\s*__global__\s+(?:void\s+)?'
    r"(?:__launch_bounds__\s*(?P<bounds>\((?:[^()]|\([^()]*\))*\))\s*)?(?:void\s+)?"
    r"(?P<name>\w+)\s*\((?P<parameters>[^)]*)\)\s*\{"
)
TYPEDEF = re.compile(r"\btypedef\s+(?P<type>\w+(?: \w+)*)\s+(?P<name>\w+)\s*;")
LAUNCHER = """
static void cuda_on_cpu_call_{name}(void** a) {{ {name}({values}); }}
extern "C" __attribute__((visibility("default"))) int launch_{name}(
    const unsigned (&shape)[6], unsigned shared, int order, unsigned long long seed, void** arguments) {{
    const int bounds[] = {{{bounds}}};
    return cuda_on_cpu::launch(
        "{name}", cuda_on_cpu_call_{name}, arguments, bounds[0], shape, shared, order, seed);
}}
"""
LAST_ERROR = """
extern "C" __attribute__((visibility("default"))) const char* last_error() {
    return cuda_on_cpu::machine.error;
}
"""


class CompileError(Exception):
    """The compiler refused; the message is what it printed."""


class LaunchError(Exception):
    """A kernel did what a GPU would not do, or not reliably."""


@dataclass(frozen=True)
class Parameter:
    """One parameter of a kernel: `float* x` has the element type "float" and is a pointer."""

    name: str
    element: str
    is_pointer: bool


@dataclass(frozen=True)
class Kernel:
    """The signature of a kernel; `bounds` is the text of its `__launch_bounds__`, or ""."""

    name: str
    parameters: tuple[Parameter, ...]
    bounds: str

    def launcher(self):
        """Write the C function that calls the kernel with values that it reads through pointers."""
        values = ", ".join(
            f"*({p.element}{'*' if p.is_pointer else ''}*)a[{i}]" for i, p in enumerate(self.parameters)
        )
        return LAUNCHER.format(name=self.name, values=values, bounds=self.bounds or "1024")


def find_kernels(preprocessed: str) -> dict[str, Kernel]:
    """Find the kernels in text whose macros are expanded."""
    names = {match["name"]: match["type"] for match in TYPEDEF.finditer(preprocessed)}
    kernels = {}
    for match in KERNEL.finditer(preprocessed):
        parameters = tuple(
            parse_parameter(text, names) for text in match["parameters"].split(",") if text.strip()
        )
        bounds = match["bounds"] or ""
        kernels[match["name"]] = Kernel(match["name"], parameters, bounds[1:-1])
    if len(kernels) != preprocessed.count("__global__"):
        raise CompileError(
            f'kernels must be extern "C" __global__ void [__launch_bounds__(N)] name(...) with a body;'
            f" {preprocessed.count('__global__')} are marked __global__, understood: {[*kernels]}"
        )
    return kernels


def parse_parameter(text: str, type_names: Mapping[str, str]) -> Parameter:
    """Parse `const unsigned char* __restrict x`; names of types are looked up."""
    words = [word for word in re.findall(r"\w+|\*", text) if word not in ("const", "__restrict")]
    *type_words, name = words
    element = " ".join(word for word in type_words if word != "*")
    while element in type_names:
        element = type_names[element]
    return Parameter(name, element, "*" in type_words)


class Library:
    """The kernels of one compiled source."""

    def __init__(self, path: Path, kernels: dict[str, Kernel]):
        self.kernels = kernels
        self._library = ctypes.CDLL(str(path))
        self._library.last_error.restype = ctypes.c_char_p
        self._lock = threading.Lock()  # a library has one state

    def launch(
        self,
        name: str,
        grid: Sequence[int],
        block: Sequence[int],
        arguments: Sequence["ctypes._SimpleCData"],
        shared_bytes: int = 0,
        order: str | int = "forward",
    ) -> None:
        """Run a kernel to its end.

        Parameters
        ----------
        name
            A key of `kernels`.
        grid, block
            One to three numbers each.
        arguments
            ctypes values (`c_void_p` for pointers), not checked against the signature here.
        shared_bytes
            Dynamic shared memory.
        order
            "forward", "backward", or the seed of a random order of blocks, warps and lanes.
        """
        shape = [*grid, 1, 1][:3] + [*block, 1, 1][:3]
        pointers = (ctypes.c_void_p * max(1, len(arguments)))(*(ctypes.addressof(a) for a in arguments))
        kind, seed = (ORDERS[order], 0) if isinstance(order, str) else (SHUFFLED, order)
        with self._lock:
            failed = getattr(self._library, f"launch_{name}")(
                (ctypes.c_uint * 6)(*shape),
                ctypes.c_uint(shared_bytes),
                kind,
                ctypes.c_ulonglong(seed),
                pointers,
            )
            if failed:
                raise LaunchError(self._library.last_error().decode())


def _run(command, folder):
    done = subprocess.run(command, capture_output=True, text=True, cwd=folder)
    if done.returncode:
        raise CompileError(f"{' '.join(map(str, command))}\n{done.stderr}")
    return done.stdout + done.stderr


def compile_for_cpu(source: str, folder: Path, options: Sequence[str] = ()) -> Library:
    """Compile a .cu text, or take the library that an earlier call (of any process) left in `folder`.

    Parameters
    ----------
    source
        CUDA C++ without headers, see cuda_on_cpu.hpp for what is known.
    folder
        Where libraries are kept.
    options
        More options of g++, such as `-DNAME=1`.
    """
    command = ["g++", *FLAGS, *options, "-x", "c++", "-include", str(HEADER)]
    digest = hashlib.sha256(
        "\0".join([HEADER.read_text(), Path(__file__).read_text(), source, *command]).encode()
    )
    path = folder / f"{digest.hexdigest()[:24]}.so"
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as name, COMPILE:
        work = Path(name)
        code = work / "kernels.cu"
        code.write_text(source)
        kernels = find_kernels(_run([*command, "-DCUDA_ON_CPU_SIGNATURES", "-E", "-P", code.name], work))
        if not path.exists():
            launchers = "".join(kernel.launcher() for kernel in kernels.values())
            (work / "all.cu").write_text(f'#line 1 "kernels.cu"\n{source}\n{launchers}{LAST_ERROR}')
            _run([*command, "-c", "all.cu", "-o", "all.o"], work)
            _run(
                ["g++", "-shared", "all.o", "-o", "all.so"], work
            )  # no -fsanitize: its library is not wanted
            os.replace(work / "all.so", path)
    return Library(path, kernels)


@dataclass(frozen=True)
class Resources:
    """What one kernel needs on a GPU, as nvcc reports it."""

    registers: int
    spill_bytes: int
    shared_bytes: int


def nvcc_compile(source: str, options: Sequence[str], architecture: str) -> dict[str, Resources]:
    """Compile for a GPU, such as "sm_80", and return what each kernel needs."""
    nvcc = shutil.which("nvcc")
    if nvcc is None:
        raise FileNotFoundError("nvcc is not on PATH")
    with tempfile.TemporaryDirectory() as name:
        (Path(name) / "kernels.cu").write_text(source)
        report = _run(
            [nvcc, "-std=c++17", f"-arch={architecture}", "-cubin", "-Xptxas", "-v", *options, "kernels.cu"],
            name,
        )
    kernels = {}
    for part in report.split("Compiling entry function '")[1:]:
        numbers = [
            re.search(p, part)
            for p in (r"Used (\d+) registers", r"(\d+) bytes spill stores", r"(\d+) bytes smem")
        ]
        kernels[part.partition("'")[0]] = Resources(*(int(n[1]) if n else 0 for n in numbers))
    return kernels
