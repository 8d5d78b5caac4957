"""A stand-in for the part of CuPy 14 that the backend uses, on a CPU. It is a test tool, not a GPU.

`installed(folder)` puts it into `sys.modules["cupy"]`. A device array is no NumPy array, and mixing the two
raises, as it does in CuPy.
"""

import contextlib
import operator
import re
import sys
import types
from unittest import mock

import ml_dtypes  # noqa: F401  registers bfloat16, which cuBLAS takes
import numpy as np

from tests.backends.cuda_on_cpu import memory, streams
from tests.backends.cuda_on_cpu.memory import MemoryPointer
from tests.backends.cuda_on_cpu.settings import SETTINGS, SHARED_LIMIT, Settings
from tests.backends.cuda_on_cpu.streams import CUDARuntimeError, RawModule, Stream, get_current_stream  # noqa: F401

__version__ = "14.0.0"
bool_, int8, int16, int32, int64 = np.bool_, np.int8, np.int16, np.int32, np.int64
uint8, uint16, uint32, uint64 = np.uint8, np.uint16, np.uint32, np.uint64
float16, float32, float64 = np.float16, np.float32, np.float64
newaxis = None


def _allocate(nbytes):
    if streams.any_capturing() and memory.allocator() == memory.DEFAULT_POOL.malloc:
        raise CUDARuntimeError(
            "cudaErrorStreamCaptureUnsupported: allocation from the default pool during capture"
        )
    return memory.allocator()(nbytes)


class ndarray(np.lib.mixins.NDArrayOperatorsMixin):
    """An array on the device."""

    def __init__(self, shape, dtype=float, memptr: MemoryPointer | None = None, strides=None, order="C"):
        dtype = np.dtype(dtype)
        if dtype.char not in "?bhilqBHILQefd":
            raise TypeError(f"CuPy has no arrays of {dtype}")
        shape = (
            tuple(map(operator.index, shape)) if isinstance(shape, tuple | list) else (operator.index(shape),)
        )
        nbytes = int(np.prod(shape)) * dtype.itemsize
        if strides is not None or order != "C":
            raise NotImplementedError("the stand-in for CuPy makes C-contiguous arrays")
        if nbytes == 0:
            self._memory, self._view = None, np.empty(shape, dtype)
            return
        self._memory = memptr if memptr is not None else _allocate(nbytes)
        memory.check_device_memory(self._memory.ptr, nbytes)
        self._view = memory.memory_at(self._memory.ptr, nbytes).view(dtype).reshape(shape)

    @classmethod
    def _of(cls, view, memory):
        """Wrap a view of the device memory that `memory` keeps alive."""
        array = cls.__new__(cls)
        array._memory, array._view = memory, view
        return array

    # What needs no work on the device.

    shape = property(lambda self: self._view.shape)
    dtype = property(lambda self: self._view.dtype)
    strides = property(lambda self: self._view.strides)
    ndim = property(lambda self: self._view.ndim)
    size = property(lambda self: self._view.size)
    itemsize = property(lambda self: self._view.itemsize)
    nbytes = property(lambda self: self._view.nbytes)
    flags = property(lambda self: self._view.flags)
    T = property(lambda self: self.transpose())

    @property
    def data(self) -> MemoryPointer:
        """Where the first element is."""
        if self._memory is None:
            return MemoryPointer(types.SimpleNamespace(ptr=0), 0)
        address = self._view.__array_interface__["data"][0]
        return MemoryPointer(self._memory.mem, address - self._memory.mem.ptr)

    def __len__(self):
        return len(self._view)

    def _rearranged(self, name, *args, **kwargs):
        view = getattr(self._view, name)(*args, **kwargs)
        if view.size == 0 or np.may_share_memory(view, self._view):
            return ndarray._of(view, self._memory)
        return _compute(getattr(np.ndarray, name), self, *args, **kwargs)

    def reshape(self, *shape):
        return self._rearranged("reshape", *shape)

    def transpose(self, *axes):
        return self._rearranged("transpose", *axes)

    def swapaxes(self, first, second):
        return self._rearranged("swapaxes", first, second)

    def ravel(self):
        return self._rearranged("ravel")

    def squeeze(self, axis=None):
        return self._rearranged("squeeze", axis)

    def view(self, dtype):
        return self._rearranged("view", dtype)

    def __getitem__(self, index):
        index = index if isinstance(index, tuple) else (index,)
        if any(isinstance(i, ndarray | np.ndarray | list) for i in index):
            return _compute(operator.getitem, self, index)
        if not any(i is Ellipsis for i in index):
            index = (*index, Ellipsis)  # a view even of one element
        return ndarray._of(self._view[index], self._memory)

    # Between host and device.

    def get(self, stream=None, order="C", out=None, blocking=True):
        stream = stream or get_current_stream()
        stream.refuse_capture("a copy to the host")
        if not blocking and out is not None and self.flags.c_contiguous and out.flags.c_contiguous:
            kind = streams.DEVICE_TO_HOST
            streams.memcpy_async(out.ctypes.data, self.data.ptr, self.nbytes, kind, stream, keep=(self, out))
            return out
        stream.run()
        out = np.empty(self.shape, self.dtype) if out is None else out
        out[...] = self._view
        return out

    def set(self, arr, stream=None):
        if not isinstance(arr, np.ndarray):
            raise TypeError("Only numpy.ndarray can be set to cupy.ndarray")
        if self.dtype != arr.dtype:
            raise TypeError(f"{arr.dtype} array cannot be set to {self.dtype} array")
        if self.shape != arr.shape:
            raise ValueError(f"Shape mismatch. Old shape: {self.shape}, new shape: {arr.shape}")
        if not self.flags.c_contiguous:
            raise RuntimeError("Cannot set to non-contiguous array")
        stream = stream or get_current_stream()
        stream.refuse_capture("a copy from the host")
        arr = np.ascontiguousarray(arr)
        kind = streams.HOST_TO_DEVICE
        streams.memcpy_async(self.data.ptr, arr.ctypes.data, self.nbytes, kind, stream, keep=(self, arr))

    def item(self, *index):
        return self.get().item(*index)

    def tolist(self):
        return self.get().tolist()

    def __array__(self, *_, **__):
        raise TypeError("Implicit conversion to a NumPy array is not allowed. Please use `.get()`.")

    def __bool__(self):
        return bool(self.get())

    def __int__(self):
        return int(self.get())

    def __index__(self):
        return operator.index(self.get())

    def __float__(self):
        return float(self.get())

    def __repr__(self):
        return repr(self._view) if get_current_stream().is_capturing() else repr(self.get())

    # On the device.

    def __array_ufunc__(self, ufunc, method, *inputs, out=None, **kwargs):
        if out is not None:
            (target,) = map(_device, out)
            result = _compute(getattr(ufunc, method), *inputs, **kwargs)
            if not np.can_cast(result.dtype, target.dtype, "same_kind"):
                raise TypeError(f"cannot cast {result.dtype} to {target.dtype}")
            target[...] = result
            return target
        return _compute(getattr(ufunc, method), *inputs, **kwargs)

    def __array_function__(self, function, types, args, kwargs):
        return getattr(sys.modules[__name__], function.__name__)(*args, **kwargs)

    def __setitem__(self, index, value):
        index = index if isinstance(index, tuple) else (index,)
        if any(isinstance(i, ndarray | np.ndarray | list) for i in index):
            _compute(operator.setitem, self, index, value)
        else:
            copyto(self[index], value)

    def fill(self, value):
        copyto(self, value)

    def astype(self, dtype, copy=True):
        if not copy and self.dtype == dtype:
            return self
        return _compute(np.ndarray.astype, self, dtype)

    def copy(self):
        return _compute(np.ndarray.copy, self)

    def sum(self, axis=None, **kwargs):
        return _compute(np.sum, self, axis=axis, **kwargs)

    def max(self, axis=None, **kwargs):
        return _compute(np.max, self, axis=axis, **kwargs)

    def min(self, axis=None, **kwargs):
        return _compute(np.min, self, axis=axis, **kwargs)

    def argmax(self, axis=None):
        return argmax(self, axis)


def _device(array):
    if not isinstance(array, ndarray):
        raise TypeError(f"Unsupported type {type(array)}: expected an array on the device")
    return array


def _unwrap(value):
    """Return what NumPy computes with; arrays on the host are refused."""
    if isinstance(value, ndarray):
        return value._view
    if isinstance(value, np.ndarray):
        raise TypeError(f"Unsupported type {type(value)}: host arrays do not mix with device arrays")
    if isinstance(value, tuple | list):
        return type(value)(map(_unwrap, value))
    return value


def _compute(function, *args, **kwargs):
    """Run NumPy on device memory, in the order of the stream; the result is a new array on the device."""
    stream = get_current_stream()
    args = [_unwrap(value) for value in args]
    if stream.is_capturing():
        raise NotImplementedError("the stand-in for CuPy records kernels, copies and fills, no arithmetic")
    stream.run()
    with np.errstate(all="ignore"):
        result = function(*args, **kwargs)
    if result is None:
        return None
    result = np.asarray(result)
    device = ndarray(result.shape, result.dtype)
    device._view[...] = result
    return device


def empty(shape, dtype=float):
    return ndarray(shape, dtype)


def zeros(shape, dtype=float):
    array = ndarray(shape, dtype)
    array.fill(0)
    return array


def empty_like(a, dtype=None, shape=None):
    _device(a)
    return ndarray(a.shape if shape is None else shape, a.dtype if dtype is None else dtype)


def zeros_like(a, dtype=None):
    return zeros(_device(a).shape, a.dtype if dtype is None else dtype)


def asarray(a, dtype=None):
    if isinstance(a, ndarray):
        return a if dtype is None else a.astype(dtype, copy=False)
    host = np.ascontiguousarray(a, dtype).reshape(np.shape(a))
    device = ndarray(host.shape, host.dtype)
    device.set(host)
    return device


def array(a, dtype=None):
    return (
        _device(a).astype(a.dtype if dtype is None else dtype)
        if isinstance(a, ndarray)
        else asarray(a, dtype)
    )


def asnumpy(a, stream=None, out=None):
    return a.get(stream, out=out) if isinstance(a, ndarray) else np.asarray(a)


def ascontiguousarray(a):
    return _device(a) if a.flags.c_contiguous else _compute(np.ascontiguousarray, a)


def concatenate(arrays, axis=0):
    return _compute(np.concatenate, list(map(_device, arrays)), axis=axis)


def argmax(a, axis=None):
    return _compute(np.argmax, _device(a), axis=axis)


def exp(a):
    return _compute(np.exp, _device(a))


def sort(a, axis=-1):
    return _compute(np.sort, _device(a), axis=axis)


def cumsum(a, axis=None):
    return _compute(np.cumsum, _device(a), axis=axis)


def minimum(a, b):
    return _compute(np.minimum, a, b)


def where(condition, a, b):
    return _compute(np.where, _device(condition), a, b)


def take_along_axis(a, indices, axis):
    return _compute(np.take_along_axis, _device(a), _device(indices), axis=axis)


def copyto(dst, src):
    """Write into `dst` when the stream comes to it."""
    target, value = _device(dst)._view, _unwrap(src)
    np.broadcast_to(value, target.shape)  # or it raises

    def copy():
        for array in (target, value):
            if isinstance(array, np.ndarray) and array.size:
                first, end = np.lib.array_utils.byte_bounds(array)
                memory.check_device_memory(first, end - first)
        with np.errstate(all="ignore"):
            np.copyto(target, value, casting="unsafe")

    get_current_stream().submit(copy, keep=(dst, src))


def get_default_memory_pool():
    return memory.DEFAULT_POOL


def get_default_pinned_memory_pool():
    return memory.PinnedMemory


def _module(name, **contents):
    module = types.ModuleType(name)

    def missing(attribute):
        raise AttributeError(f"the stand-in for CuPy has no {name}.{attribute}")

    module.__dict__.update(contents, __getattr__=missing)
    return module


def __getattr__(attribute):
    raise AttributeError(f"the stand-in for CuPy has no cupy.{attribute}")


class Device:
    """The only one."""

    id = 0

    def __init__(self, device=None):
        if device not in (None, 0):
            raise CUDARuntimeError("cudaErrorInvalidDevice: invalid device ordinal")

    @property
    def compute_capability(self) -> str:
        return "{}{}".format(*SETTINGS.capability)

    @property
    def attributes(self):
        return {"MultiProcessorCount": SETTINGS.multiprocessors}

    @property
    def mem_info(self):
        return _memory_info()

    def synchronize(self):
        streams.synchronize_all()


def _memory_info():
    return memory.free_memory(), SETTINGS.total_memory


def _properties(device):
    major, minor = SETTINGS.capability
    return {
        "name": b"CUDA on CPU",
        "multiProcessorCount": SETTINGS.multiprocessors,
        "major": major,
        "minor": minor,
        "totalGlobalMem": SETTINGS.total_memory,
        "sharedMemPerBlock": streams.SHARED_DEFAULT,
        "sharedMemPerBlockOptin": SHARED_LIMIT[SETTINGS.capability] << 10,
        "warpSize": 32,
        "maxThreadsPerBlock": 1024,
    }


def _memcpy_async(dst, src, size, kind, stream):
    streams.memcpy_async(dst, src, size, kind, Stream.every[stream])


runtime = _module(
    "cupy.cuda.runtime",
    CUDARuntimeError=CUDARuntimeError,
    getDeviceCount=lambda: 1,
    getDeviceProperties=_properties,
    runtimeGetVersion=lambda: 13000,
    driverGetVersion=lambda: 13000,
    memGetInfo=_memory_info,
    memcpyAsync=_memcpy_async,
    memcpyHostToDevice=streams.HOST_TO_DEVICE,
    memcpyDeviceToHost=streams.DEVICE_TO_HOST,
    memcpyDeviceToDevice=streams.DEVICE_TO_DEVICE,
    deviceSynchronize=streams.synchronize_all,
    CUDA_R_32F=0,
    CUDA_R_16BF=14,
)
cublas = _module(
    "cupy.cuda.cublas",
    gemmEx=streams.gemm_ex,
    CUBLAS_OP_N=0,
    CUBLAS_OP_T=1,
    CUBLAS_COMPUTE_32F=68,
    CUBLAS_GEMM_DEFAULT=-1,
)
device = _module("cupy.cuda.device", Device=Device, get_cublas_handle=lambda: 0xB1A5)
cuda = _module(
    "cupy.cuda",
    Device=Device,
    Graph=streams.Graph,
    MemoryPointer=MemoryPointer,
    MemoryPool=memory.MemoryPool,
    Stream=Stream,
    alloc=_allocate,
    alloc_pinned_memory=memory.PinnedMemory.allocate,
    cublas=cublas,
    device=device,
    get_current_stream=get_current_stream,
    is_available=lambda: True,
    memory=_module("cupy.cuda.memory", OutOfMemoryError=memory.OutOfMemoryError),
    runtime=runtime,
    using_allocator=memory.using_allocator,
)


@contextlib.contextmanager
def installed(folder, **settings):
    """Let `import cupy` find the stand-in; on the way out all work is done, so that no error is lost.

    Parameters
    ----------
    folder
        Where compiled kernels are kept.
    settings
        Fields of `Settings`.
    """
    here = sys.modules[__name__]
    before = _take_out()
    sys.modules["cupy"] = here
    for module in (cuda, runtime, cublas, device, cuda.memory):
        sys.modules[module.__name__] = module
    with mock.patch.dict(vars(SETTINGS), vars(Settings(folder=folder, **settings))):
        try:
            yield here
            streams.synchronize_all()
        finally:
            streams.reset()
            _take_out()
            sys.modules.update(before)


def _take_out():
    """Remove CuPy and the backend that imports it from the loaded modules, and return them."""
    names = [name for name in sys.modules if re.match(r"(cupy|minidecilm\.backends\.cupy_backend)\b", name)]
    return {name: sys.modules.pop(name) for name in names}
