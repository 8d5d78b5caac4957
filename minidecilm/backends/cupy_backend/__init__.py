"""The network's operations on an NVIDIA GPU, by CuPy: the folder that imports it.

:mod:`.device` holds memory and its plan; :mod:`.kernels` compiles the CUDA C++ in ``kernels/``;
:mod:`.operations` are those of :mod:`minidecilm.ops`; :mod:`.decoding` computes one new token per row in six
launches per layer, recorded once as a CUDA graph.
"""

from minidecilm.backends import Backend

#: Tensor cores that multiply bfloat16, and copies to shared memory in the background.
CAPABILITY = 80


def create(dtype: str = "float32") -> Backend:
    """Make the backend.

    Parameters
    ----------
    dtype : {"float32", "bfloat16"}
        What products multiply: activations as they are, in three bfloat16 parts of 8 bits each where tensor
        cores multiply them; or rounded to bfloat16. Sums are float32.

    Raises
    ------
    ValueError
        Saying what is missing: CuPy, a driver, a GPU that is new enough, or CUDA's libraries.
    """
    try:
        import cupy
    except ImportError as problem:
        raise ValueError(
            f"backend 'cupy': CuPy cannot be imported ({problem}): pip install '.[cuda13]' in a clone, or "
            "'.[cuda12]' for a driver of CUDA 12"
        ) from None
    try:
        cupy.cuda.runtime.getDeviceCount()
        capability = int(cupy.cuda.Device().compute_capability)
    except cupy.cuda.runtime.CUDARuntimeError as problem:
        raise ValueError(f"backend 'cupy': no usable CUDA device: {problem}") from None
    if capability < CAPABILITY:
        raise ValueError(
            f"backend 'cupy': needs compute capability {CAPABILITY / 10} (A10, A100, RTX 30 and later), "
            f"this GPU has {capability / 10}"
        )
    from minidecilm.backends.cupy_backend.decoding import Decoder
    from minidecilm.backends.cupy_backend.device import Gpu
    from minidecilm.backends.cupy_backend.kernels import check_compiler
    from minidecilm.backends.cupy_backend.operations import Operations

    try:
        check_compiler()
        cupy.cuda.device.get_cublas_handle()
    except Exception as problem:  # of a library that is missing or does not fit, in the words of its loader
        first_line = (str(problem).strip().splitlines() or [type(problem).__name__])[0]
        raise ValueError(
            f"backend 'cupy': CUDA's compiler or cuBLAS cannot be used ({first_line}): pip install "
            "'.[cuda13]' in a clone brings them, or '.[cuda12]' for a driver of CUDA 12"
        ) from None
    gpu = Gpu()
    ops = Operations(gpu, parts=1 if dtype == "bfloat16" else 3)
    return Backend(
        "cupy",
        dtypes=("float32", "bfloat16"),
        kernels="rounded" if ops.parts == 1 else "exact",
        embedding=ops.embedding,
        linear=ops.linear,
        rms_norm=ops.rms_norm,
        rotate=ops.rotate,
        attention=ops.attention,
        attention_weights=ops.attention_weights,
        swiglu=ops.swiglu,
        device=gpu,
        decoder=lambda config, weights: Decoder.of(config, weights, ops),
    )
