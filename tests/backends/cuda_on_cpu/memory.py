"""Device memory of the stand-in for CuPy: unwritten or freed it is NaN, beyond it nothing can be touched."""

import contextlib
import ctypes
import sys
import threading
import weakref
from collections import deque
from functools import cache
from typing import ClassVar

import numpy as np

from tests.backends.cuda_on_cpu.settings import SETTINGS

PAGE = 4096
POISON = 0xFF
ALIGNMENT = 16  # CuPy aligns to 512 bytes; the widest access of a kernel is 16
QUARANTINE = 32 << 20  # bytes of freed memory that can still be read, as NaN

_FORBIDDEN, _READ_WRITE, _ANONYMOUS, _FIXED = 0, 3, 0x4022, 0x10  # as in Linux' sys/mman.h

BLOCKS: "weakref.WeakSet[Block]" = weakref.WeakSet()
_freed: "deque[tuple[int, int]]" = deque()
_allocators = threading.local()


class OutOfMemoryError(MemoryError):
    """As `cupy.cuda.memory.OutOfMemoryError`."""


@cache
def _mmap():
    mmap = ctypes.CDLL(None).mmap
    mmap.restype = ctypes.c_void_p
    mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_size_t]
    return mmap


def _map(address, size, protection, flags=0):
    found = _mmap()(address, size, protection, _ANONYMOUS | flags, -1, 0)
    if found == ctypes.c_void_p(-1).value:
        raise MemoryError(f"mmap of {size} bytes failed")
    return found


class Block:
    """Memory that ends at a page which cannot be touched; once freed it is NaN, later out of bounds."""

    def __init__(self, size: int):
        if size > free_memory():
            raise OutOfMemoryError(
                f"Out of memory allocating {size:,} bytes (free: {free_memory():,} bytes)."
            )
        self.size = size
        self.owner = weakref.ref(self)  # or the PooledMemory that has it
        self._pages = -(-size // PAGE) * PAGE
        self._base = _map(None, self._pages + PAGE, _FORBIDDEN)
        _map(self._base, self._pages, _READ_WRITE, _FIXED)
        self.ptr = self._base + self._pages - -(-size // ALIGNMENT) * ALIGNMENT
        self.poison()
        BLOCKS.add(self)

    def poison(self) -> None:
        """Fill all pages with 0xFF."""
        ctypes.memset(self._base, POISON, self._pages)

    def check_edges(self) -> None:
        """Raise, once, if something wrote into what the pages hold before and after the block."""
        pages = memory_at(self._base, self._pages)
        start = self.ptr - self._base
        for edge in (pages[:start], pages[start + self.size :]):
            if (edge != POISON).any():
                edge[:] = POISON
                raise RuntimeError(f"something wrote beside a block of {self.size} bytes of device memory")

    def __del__(self):
        if sys.is_finalizing() or not hasattr(self, "ptr"):
            return
        try:
            self.check_edges()
        finally:
            self.poison()
            _freed.append((self._base, self._pages))
            while sum(pages for _, pages in _freed) > QUARANTINE:
                _map(*_freed.popleft(), _FORBIDDEN, _FIXED)


def memory_at(address: int, nbytes: int) -> np.ndarray:
    """Return a view of memory, which it does not keep alive."""
    return np.frombuffer((ctypes.c_ubyte * nbytes).from_address(address), np.uint8)


def block_at(address: int, nbytes: int) -> Block | None:
    """Find the block that holds all of a range."""
    return next((b for b in BLOCKS if b.ptr <= address and address + nbytes <= b.ptr + b.size), None)


def owner_at(address: int):
    """Return what keeps memory allocated, for work that was given its address and will use it later."""
    block = block_at(address, 1)
    return block and block.owner()


def check_device_memory(address: int, nbytes: int) -> None:
    """Raise unless all of it lies in one block that was not freed."""
    if nbytes and block_at(address, nbytes) is None:
        raise RuntimeError(f"{nbytes} bytes at {address:#x} are not device memory, or were freed")


def free_memory() -> int:
    """Return how many bytes more may be allocated."""
    return SETTINGS.total_memory - sum(block.size for block in BLOCKS)


class MemoryPointer:
    """An address in memory that it keeps alive."""

    def __init__(self, mem, offset: int):
        self.mem = mem
        self.ptr = mem.ptr + offset

    def __add__(self, offset: int) -> "MemoryPointer":
        return MemoryPointer(self.mem, self.ptr - self.mem.ptr + offset)


class PooledMemory:
    """A block that goes back to its pool."""

    def __init__(self, block, pool):
        self._block, self._pool = block, weakref.ref(pool)
        self.ptr, self.size = block.ptr, block.size
        block.owner = weakref.ref(self)

    def __del__(self):
        pool = self._pool()
        if pool is not None and not sys.is_finalizing():
            self._block.check_edges()
            self._block.poison()
            pool.free_blocks.append(self._block)


class MemoryPool:
    """Keeps freed blocks, and hands them out again, until it dies; the default pool lets them go at once."""

    def __init__(self):
        self.free_blocks: list[Block] = []

    def malloc(self, size: int) -> MemoryPointer:
        """Allocate."""
        for i in reversed(range(len(self.free_blocks))):
            if self.free_blocks[i].size == size:
                return MemoryPointer(PooledMemory(self.free_blocks.pop(i), self), 0)
        return MemoryPointer(PooledMemory(Block(size), self), 0)

    def free_bytes(self) -> int:
        """Count what the pool holds and nothing uses."""
        return sum(block.size for block in self.free_blocks)

    def free_all_blocks(self) -> None:
        """Let go of the blocks that nothing uses."""
        self.free_blocks.clear()


class DefaultPool(MemoryPool):
    """Where arrays come from unless another allocator is in force."""

    def malloc(self, size: int) -> MemoryPointer:
        """Allocate."""
        return MemoryPointer(Block(size), 0)

    def free_bytes(self) -> int:
        """Bytes that are kept for later: none."""
        return 0


DEFAULT_POOL = DefaultPool()


def allocator():
    """Return the function that allocates in this thread."""
    return getattr(_allocators, "current", DEFAULT_POOL.malloc)


@contextlib.contextmanager
def using_allocator(malloc):
    """Allocate by `malloc` inside the context."""
    before = allocator()
    _allocators.current = malloc
    try:
        yield
    finally:
        _allocators.current = before


class PinnedMemory:
    """Ranges of host memory from which copies run on by themselves."""

    by_address: ClassVar["weakref.WeakValueDictionary[int, ctypes.Array]"] = weakref.WeakValueDictionary()

    @classmethod
    def allocate(cls, nbytes: int) -> "ctypes.Array":
        """Return memory with the buffer protocol and an attribute `ptr`; more than asked, as in CuPy."""
        rounded = -(-nbytes // 512) * 512
        kind = type("PinnedMemoryPointer", (ctypes.c_ubyte * rounded,), {"ptr": property(ctypes.addressof)})
        memory = kind()
        ctypes.memset(memory.ptr, POISON, rounded)
        cls.by_address[memory.ptr] = memory
        return memory

    @classmethod
    def free_all_blocks(cls) -> None:
        """Let go of what nothing uses: it was not kept."""

    @classmethod
    def holds(cls, address: int, nbytes: int) -> bool:
        """Tell whether the range is pinned."""
        return any(
            start <= address and address + nbytes <= start + len(memory)
            for start, memory in cls.by_address.items()
        )
