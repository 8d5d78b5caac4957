"""Streams, graphs and kernels of the stand-in for CuPy.

Work handed to a stream waits until the host does what would wait for it on a GPU. So a host that reads pinned
memory too early reads NaN, and one that overwrites it too early sends the new values.
"""

import ctypes
import itertools
import math
import operator
import threading
from typing import ClassVar

import numpy as np

from tests.backends.cuda_on_cpu import compiling
from tests.backends.cuda_on_cpu.memory import (
    BLOCKS,
    POISON,
    MemoryPointer,
    PinnedMemory,
    check_device_memory,
    memory_at,
    owner_at,
)
from tests.backends.cuda_on_cpu.settings import SETTINGS, SHARED_LIMIT

_local = threading.local()


class CUDARuntimeError(RuntimeError):
    """As `cupy.cuda.runtime.CUDARuntimeError`."""


class Graph:
    """What a stream was given while it captured."""

    def __init__(self, operations):
        self._operations = operations

    def launch(self, stream: "Stream | None" = None) -> None:
        """Do it all again, with the pointers and values of then."""
        stream = stream or get_current_stream()
        for operation in self._operations:
            stream.submit(operation, keep=self)


class Stream:
    """A queue of work."""

    null: "Stream"
    every: ClassVar["dict[int, Stream]"] = {}  # by handle
    _handles = itertools.count(0x1000, 0x10)

    def __init__(self, null: bool = False, non_blocking: bool = False):
        self.ptr = 0 if null else next(self._handles)
        self.is_non_blocking = non_blocking
        self._pending: list[tuple] = []
        self._captured: list | None = None
        self.every[self.ptr] = self

    def __enter__(self):
        _stack().append(self)
        return self

    def __exit__(self, *_):
        _stack().pop()

    def use(self):
        """Make this the current stream."""
        _stack()[-1] = self
        return self

    def is_capturing(self) -> bool:
        """Tell whether work is recorded instead of done."""
        return self._captured is not None

    def begin_capture(self, mode=None) -> None:
        """Record from now on."""
        if self.ptr == 0:
            raise RuntimeError("cannot capture on the default (legacy) stream")
        if self.is_capturing():
            raise CUDARuntimeError("cudaErrorIllegalState: the stream is capturing already")
        self._captured = []

    def end_capture(self) -> Graph:
        """Return what was recorded."""
        captured, self._captured = self._captured, None
        if captured is None:
            raise CUDARuntimeError("cudaErrorIllegalState: the stream is not capturing")
        return Graph(captured)

    def submit(self, operation, keep=()) -> None:
        """Queue an operation, or record it; what it needs to stay allocated is kept only for a queued one."""
        if self._captured is not None:
            self._captured.append(operation)
            return
        if not self.is_non_blocking:  # the null stream and the blocking ones wait for each other
            for other in self.every.values():
                if other is not self and not other.is_non_blocking and 0 in (self.ptr, other.ptr):
                    other.run()
        self._pending.append((operation, keep))
        if SETTINGS.launch_blocking:
            self.run()

    def run(self) -> None:
        """Do what is queued."""
        pending, self._pending = self._pending, []
        for operation, _ in pending:
            operation()
        if pending:
            for block in BLOCKS:
                block.check_edges()

    def synchronize(self) -> None:
        """Wait until all is done."""
        self.refuse_capture("a synchronisation")
        self.run()

    def refuse_capture(self, what: str) -> None:
        """Raise while work is recorded."""
        if self.is_capturing():
            raise CUDARuntimeError(f"cudaErrorStreamCaptureUnsupported: {what} while the stream is capturing")


Stream.null = Stream(null=True)


def _stack() -> list[Stream]:
    if not hasattr(_local, "streams"):
        _local.streams = [Stream.null]
    return _local.streams


def get_current_stream() -> Stream:
    """Return the stream that work goes to in this thread."""
    return _stack()[-1]


def any_capturing() -> bool:
    """Tell whether some stream records."""
    return any(stream.is_capturing() for stream in Stream.every.values())


def synchronize_all() -> None:
    """Run the work of every stream."""
    for stream in Stream.every.values():
        stream.synchronize()


def reset() -> None:
    """Forget all streams and their work."""
    Stream.every.clear()
    Stream.null = Stream(null=True)
    _local.streams = [Stream.null]


HOST_TO_DEVICE, DEVICE_TO_HOST, DEVICE_TO_DEVICE = 1, 2, 3


def memcpy_async(dst: int, src: int, size: int, kind: int, stream: Stream, keep=()) -> None:
    """Copy in the order of the stream; from or to pageable host memory it is done at once, as by CUDA."""
    if kind not in (HOST_TO_DEVICE, DEVICE_TO_HOST, DEVICE_TO_DEVICE):
        raise CUDARuntimeError(f"cudaErrorInvalidMemcpyDirection: {kind}")
    host = {HOST_TO_DEVICE: src, DEVICE_TO_HOST: dst}.get(kind)
    pinned = host is None or PinnedMemory.holds(host, size)
    if not pinned:
        stream.refuse_capture("a copy of pageable memory")
    if kind == DEVICE_TO_HOST and pinned and not stream.is_capturing():
        ctypes.memset(dst, POISON, size)

    def copy():
        if kind != HOST_TO_DEVICE:
            check_device_memory(src, size)
        if kind != DEVICE_TO_HOST:
            check_device_memory(dst, size)
        ctypes.memmove(dst, src, size)

    stream.submit(copy, (keep, owner_at(dst), owner_at(src)))
    if not pinned:
        stream.run()


# ---- kernels

# The dtypes an array may have for a pointer to each type; vectors such as uint4 are read from any.
POINTERS = {
    "float": ("float32",),
    "unsigned char": ("uint8", "bool"),
    "signed char": ("int8",),
    "unsigned short": ("uint16",),
    "int": ("int32",),
    "unsigned": ("uint32",),
    "unsigned int": ("uint32",),
    "long long": ("int64",),
}
SCALARS = {
    "int": (np.int32, ctypes.c_int),
    "unsigned": (np.uint32, ctypes.c_uint),
    "unsigned int": (np.uint32, ctypes.c_uint),
    "float": (np.float32, ctypes.c_float),
    "long long": (np.int64, ctypes.c_longlong),
}
SHARED_DEFAULT = 48 << 10


def argument(kernel: str, parameter: compiling.Parameter, value):
    """Turn an argument into what C takes, or say why it does not fit."""
    where = f"{kernel}: {parameter.name}"
    if parameter.is_pointer:
        if isinstance(value, np.uintp):
            return ctypes.c_void_p(int(value))
        if value is None or isinstance(value, MemoryPointer):
            return ctypes.c_void_p(value and value.ptr)
        if not isinstance(getattr(value, "data", None), MemoryPointer):
            raise TypeError(f"{where} is a pointer; expected a device array, found {type(value)}")
        dtypes = POINTERS.get(parameter.element)
        if dtypes and value.dtype.name not in dtypes:
            raise TypeError(f"{where} points to {parameter.element}, found an array of {value.dtype}")
        return ctypes.c_void_p(value.data.ptr)
    if parameter.element not in SCALARS:
        raise TypeError(f"{where} has the type {parameter.element}; known are {', '.join(SCALARS)}")
    kind, c_type = SCALARS[parameter.element]
    if type(value) is not kind:
        raise TypeError(
            f"{where} is {parameter.element}; expected numpy.{kind.__name__}, found {type(value)}"
        )
    return c_type(value.item())


class Function:
    """A kernel, ready to be launched."""

    def __init__(self, library: compiling.Library, name: str):
        self._library = library
        self._kernel = library.kernels[name]
        self._shared_limit = SHARED_DEFAULT

    @property
    def max_dynamic_shared_size_bytes(self) -> int:
        """How much dynamic shared memory a launch may ask for."""
        return self._shared_limit

    @max_dynamic_shared_size_bytes.setter
    def max_dynamic_shared_size_bytes(self, nbytes: int) -> None:
        limit = SHARED_LIMIT[SETTINGS.capability] << 10
        if nbytes > limit:
            raise CUDARuntimeError(
                f"CUDA_ERROR_INVALID_VALUE: {nbytes} bytes of shared memory, {limit} are possible"
            )
        self._shared_limit = nbytes

    def __call__(self, grid: tuple, block: tuple, args, *, shared_mem: int = 0):
        """Check what CUDA checks, and the arguments, which it does not; then queue the launch."""
        name, parameters = self._kernel.name, self._kernel.parameters
        if not isinstance(grid, tuple) or not isinstance(block, tuple):
            raise TypeError(f"{name}: grid and block are tuples")
        grid, block = (tuple(map(operator.index, (*shape, 1, 1)[:3])) for shape in (grid, block))
        for what, numbers, least, limits in (
            ("grid", grid, 1, (2**31 - 1, 65535, 65535)),
            ("block", block, 1, (1024, 1024, 64)),
            ("threads", [math.prod(block)], 1, [1024]),
            ("shared memory", [shared_mem], 0, [self._shared_limit]),
        ):
            if any(not least <= number <= limit for number, limit in zip(numbers, limits, strict=True)):
                raise CUDARuntimeError(f"CUDA_ERROR_INVALID_VALUE: {name}: {what} {numbers}, limit {limits}")
        if len(args) != len(parameters):
            raise TypeError(f"{name} takes {len(parameters)} arguments, found {len(args)}")
        values = [argument(name, parameter, value) for parameter, value in zip(parameters, args, strict=True)]

        def launch():
            self._library.launch(name, grid, block, values, shared_mem, SETTINGS.order)

        raw = [owner_at(int(value)) for value in args if isinstance(value, np.uintp)]
        get_current_stream().submit(launch, keep=(args, raw))


class RawModule:
    """Kernels from the text of a .cu file, compiled when first asked for one."""

    def __init__(self, *, code: str, options: tuple = (), backend: str = "nvrtc"):
        if backend not in ("nvrtc", "nvcc"):
            raise ValueError(f"backend {backend!r}")
        ignored = (
            "-std=",
            "--std=",
            "-lineinfo",
            "--use_fast_math",
            "-use_fast_math",
            "--generate-line-info",
        )
        self._options = [option for option in options if not option.startswith(ignored)]
        for option in self._options:
            if not option.startswith("-D"):
                raise ValueError(f"what the option {option} would mean on a CPU is not known here")
        self._code = code
        self._library: compiling.Library | None = None

    def compile(self, log_stream=None) -> None:
        """Compile now."""
        if SETTINGS.folder is None:
            raise RuntimeError("SETTINGS.folder is not set")
        self._library = self._library or compiling.compile_for_cpu(self._code, SETTINGS.folder, self._options)

    def get_function(self, name: str) -> Function:
        """Return one kernel."""
        self.compile()
        assert self._library is not None
        if name not in self._library.kernels:
            raise CUDARuntimeError(f"CUDA_ERROR_NOT_FOUND: {name} among {sorted(self._library.kernels)}")
        return Function(self._library, name)


# ---- cuBLAS

_GEMM_TYPES = {0: "float32", 14: "bfloat16"}  # CUDA_R_32F, CUDA_R_16BF


def _column_major(address, kind, rows, columns, leading):
    """View what cuBLAS calls a matrix: element (i, j) stands at i + j * leading."""
    dtype = np.dtype(_GEMM_TYPES[kind])
    nbytes = ((columns - 1) * leading + rows) * dtype.itemsize
    check_device_memory(address, nbytes)
    strides = (dtype.itemsize, leading * dtype.itemsize)
    return np.ndarray((rows, columns), dtype, memory_at(address, nbytes), strides=strides)


def gemm_ex(handle, transa, transb, m, n, k, alpha, *matrices_and_algorithm):
    """Do C = alpha op(A) op(B) + beta C with a float32 sum; `alpha` and `beta` are addresses on the host."""
    a, a_type, lda, b, b_type, ldb, beta, c, c_type, ldc, compute, _algorithm = matrices_and_algorithm
    stream = get_current_stream()
    if stream.is_capturing():
        raise NotImplementedError("calling cuBLAS API during stream capture is currently unsupported")
    scale, keep = (ctypes.c_float.from_address(address).value for address in (alpha, beta))
    shapes = [(k, m) if transa else (m, k), (n, k) if transb else (k, n), (m, n)]
    for (rows, _), leading, name in zip(shapes, (lda, ldb, ldc), "abc", strict=True):
        if leading < max(1, rows):
            raise CUDARuntimeError(f"CUBLAS_STATUS_INVALID_VALUE: ld{name} {leading} for {rows} rows")
    if compute != 68 or a_type != b_type or not {a_type, b_type, c_type} <= set(_GEMM_TYPES):
        raise CUDARuntimeError(
            f"CUBLAS_STATUS_NOT_SUPPORTED: types {a_type} {b_type} {c_type}, compute {compute}"
        )
    if c_type == 14 and a_type == 0:
        raise CUDARuntimeError("CUBLAS_STATUS_NOT_SUPPORTED: float32 inputs and a bf16 result")

    def multiply():
        x = _column_major(a, a_type, *shapes[0], lda).astype(np.float32)
        y = _column_major(b, b_type, *shapes[1], ldb).astype(np.float32)
        z = _column_major(c, c_type, m, n, ldc)
        with np.errstate(all="ignore"):
            product = np.float32(scale) * ((x.T if transa else x) @ (y.T if transb else y))
            z[...] = product + np.float32(keep) * z.astype(np.float32) if keep else product

    stream.submit(multiply, keep=[owner_at(address) for address in (a, b, c)])
