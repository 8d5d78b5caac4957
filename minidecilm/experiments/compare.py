"""Where do two models part? Runs both on the same tokens and compares them stage by stage."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from minidecilm.model import DeciLM
from minidecilm.observe import Observer, Recorder, Showing


@dataclass(frozen=True)
class Difference:
    """How far two models are apart at one stage.

    Attributes
    ----------
    layer : int or None
        None outside the layers.
    stage : str
        Name from :data:`minidecilm.observe.STAGES`.
    error : float
        Largest absolute difference, as a share of the largest absolute value of the first model's stage.
    """

    layer: int | None
    stage: str
    error: float

    @property
    def where(self) -> str:
        """The stage in words."""
        return self.stage if self.layer is None else f"{self.stage} of layer {self.layer}"

    def to_dict(self) -> dict[str, Any]:
        """Give the attributes by name, ready for JSON, which has no NaN: an error that is none is None."""
        return {**asdict(self), "error": self.error if np.isfinite(self.error) else None}


def compare(
    first: DeciLM,
    second: DeciLM,
    input_ids: npt.ArrayLike,
    observers: Sequence[Observer | None] = (None, None),
) -> list[Difference]:
    """Compare every stage of two forward passes, in the order they are computed.

    Parameters
    ----------
    first, second : DeciLM
        Two backends, dtypes, rotary policies or checkpoints of one architecture.
    input_ids : (B, T) array of int
    observers : sequence of two Observers, optional
        Look on, one at each of the runs.

    Returns
    -------
    list of Difference
        Stages that only one of the two has (rotated keys under different rotary policies) are left out.

    Raises
    ------
    ValueError
        If the architectures differ, so that stages cannot be compared.

    Examples
    --------
    >>> import minidecilm
    >>> narrow = minidecilm.load("demo", dtype="float32").model
    >>> wide = minidecilm.load("demo", dtype="float64").model
    >>> first_difference(compare(narrow, wide, [[1, 5, 9]]), tolerance=1e-3) is None
    True
    """
    shapes = first.config.parameter_shapes()
    for name, shape in second.config.parameter_shapes().items():
        if shapes.get(name) != shape:
            raise ValueError(
                f"cannot compare: {name} is {shapes.get(name)} in the first model, {shape} in the second"
            )
    if len(shapes) != len(second.config.parameter_shapes()):
        raise ValueError("cannot compare: the second model has fewer weights than the first")
    records = [Recorder(), Recorder()]
    for model, record, observer in zip((first, second), records, observers, strict=True):
        model(input_ids, observer=Showing(record, observer))
    a, b = (record.values for record in records)
    return [Difference(*key, _relative_error(a[key], b[key])) for key in a if key in b]


def first_difference(differences: list[Difference], tolerance: float) -> Difference | None:
    """Return the first stage that is further apart than the tolerance; NaN counts as apart."""
    return next((d for d in differences if not d.error <= tolerance), None)


def largest_difference(differences: list[Difference]) -> Difference:
    """Return the first of the stages that are furthest apart; NaN is further than anything."""
    return max(differences, key=lambda d: np.nan_to_num(d.error, nan=np.inf))


def _relative_error(a: npt.NDArray[np.floating], b: npt.NDArray[np.floating]) -> float:
    difference = np.max(np.abs(a.astype(np.float64) - b.astype(np.float64)))
    scale = np.max(np.abs(a.astype(np.float64)))
    return float(difference / scale) if scale > 0 else float(difference)
