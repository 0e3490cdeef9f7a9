"""Whatever a user has for an array → a plain numpy array, or a line that says what is wrong."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from l2tune.errors import UserError
from l2tune.importing import one_line


def as_array(value: Any, where: str, fix: str) -> NDArray[Any]:
    """A dense array in main memory.

    Tensors may be sparse, quantized, need gradients or lie on any device; so may those in a list. Objects in an array
    become numbers where all are: `numpy.array([a, b], dtype=object)` of two equal shapes is what a list of them is.
    Numbers come in the machine's byte order and in types that torch has.

    Raises:
        UserError: There are no values (a meta tensor), some are masked, or no array can be made of it.
    """
    with one_line("are no array", where, fix):
        if is_torch(value):
            tensors = [value] if isinstance(value, Tensor) else list(value)
            arrays = [_tensor_array(tensor, where, fix) for tensor in tensors]
            return arrays[0] if isinstance(value, Tensor) else np.stack(arrays)
        if np.ma.isMaskedArray(value) and np.ma.is_masked(value):
            raise UserError("have masked values", where, "fill them or leave those images out")
        array = np.asarray(value)
        if array.dtype.kind == "O" and array.ndim == 1 and all(_is_shaped(item) for item in array):
            array = np.stack([as_array(item, where, fix) for item in array]) if len(array) else array
        if array.dtype == np.longdouble:
            return array.astype(np.float64)
        return array.astype(array.dtype.newbyteorder("="), copy=False) if array.dtype.kind in "iuf" else array


def is_torch(value: Any) -> bool:
    """Whether the value is a tensor, or a list of them."""
    return isinstance(value, Tensor) or (
        isinstance(value, tuple | list) and bool(value) and all(isinstance(item, Tensor) for item in value)
    )


def by(shape: Any) -> str:
    """Lengths as messages show them, say 5×3×8×8."""
    return "×".join(map(str, shape)) or "()"


def group_ids(value: Any, count: int, where: str) -> NDArray[np.int64]:
    """Groups of any type, numbered from 0.

    Raises:
        UserError: There is not one per image.
    """
    array = as_array(value, where, "give one group per image")
    if array.ndim != 1 or len(array) != count:
        raise UserError(f"{count} images but groups of shape {by(array.shape)}", where, "give one group per image")
    if array.dtype.kind in "OT" and all(isinstance(item, str) for item in array):
        array = np.array([str(item) for item in array])
    if array.dtype.kind not in "uibUS":
        raise UserError(f"have type {array.dtype}", where, "give whole numbers or names")
    return np.unique(array, return_inverse=True)[1].astype(np.int64)


def _tensor_array(tensor: Tensor, where: str, fix: str) -> NDArray[Any]:
    if tensor.is_meta:
        raise UserError("have no values (a tensor on the meta device)", where, fix)
    if tensor.is_nested:
        raise UserError("are a nested tensor", where, fix)
    tensor = tensor.detach()
    if tensor.is_quantized:
        tensor = tensor.dequantize()
    if tensor.layout != torch.strided:
        tensor = tensor.to_dense()
    tensor = tensor.cpu().resolve_conj().resolve_neg()
    if tensor.is_floating_point() and tensor.dtype not in (torch.float16, torch.float32, torch.float64):
        tensor = tensor.float()  # bfloat16 and float8, which numpy has not
    return np.asarray(tensor.numpy())


def _is_shaped(item: Any) -> bool:
    return isinstance(item, np.ndarray | Tensor | list | tuple)
