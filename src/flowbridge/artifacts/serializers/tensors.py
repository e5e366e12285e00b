"""Tensors of PyTorch, one or a dict of them, as safetensors files: mapped when they are loaded, and no code in them."""

from __future__ import annotations

import json
import math
import struct
from typing import Any

from flowbridge.artifacts.serializers.base import Meta, Sink, Source
from flowbridge.artifacts.serializers.plain import is_exact

_ALIGN = 64
_PAGE = 4096
_LARGE = 1 << 20
_ONE = "tensor"
_MOST_HEADER = 100 << 20
_NAMES = {
    "float64": "F64",
    "float32": "F32",
    "float16": "F16",
    "bfloat16": "BF16",
    "int64": "I64",
    "int32": "I32",
    "int16": "I16",
    "int8": "I8",
    "uint8": "U8",
    "uint16": "U16",
    "uint32": "U32",
    "uint64": "U64",
    "bool": "BOOL",
    "float8_e4m3fn": "F8_E4M3",
    "float8_e5m2": "F8_E5M2",
}


def is_plain_tensor(value: Any) -> bool:
    """Tell whether a tensor is nothing but numbers: dense, of a dtype that safetensors has, not waiting for gradients, nothing attached."""
    kind = type(value)
    return (
        kind.__module__ == "torch"
        and kind.__qualname__ == "Tensor"
        and str(value.layout) == "torch.strided"
        and str(value.dtype).removeprefix("torch.") in _NAMES
        and value.device.type != "meta"
        and (value.is_leaf or not value.requires_grad)
        and not value.is_quantized
        and not value.is_conj()
        and not value.is_neg()
        and not value.__dict__
    )


def is_plain_state(value: Any) -> bool:
    """Tell whether a value is a dict of names and such tensors, none of which share their memory."""
    if type(value).__qualname__ not in {"dict", "OrderedDict"} or not value or hasattr(value, "_metadata"):
        return False
    if not all(type(k) is str and is_exact(k) and k != "__metadata__" and is_plain_tensor(v) for k, v in value.items()):
        return False
    places = [v.untyped_storage().data_ptr() for v in value.values() if v.numel()]
    return len(set(places)) == len(places)


class TensorSerializer:
    """A tensor, or a dict of tensors such as a state dict. Loaded tensors are on the CPU: the machine may have no other."""

    name = "torch"
    version = 1

    def save(self, value: Any, sink: Sink) -> Meta:
        """Write a safetensors file."""
        one = not isinstance(value, dict)
        tensors = {_ONE: value} if one else value
        header: dict[str, Any] = {}
        position = 0
        for name, tensor in tensors.items():
            size = tensor.numel() * tensor.element_size()
            dtype = _NAMES[str(tensor.dtype).removeprefix("torch.")]
            header[name] = {"dtype": dtype, "shape": list(tensor.shape), "data_offsets": [position, position + size]}
            position += size
        text = json.dumps(header, separators=(",", ":")).encode()
        text = text.ljust(len(text) + -(8 + len(text)) % (_PAGE if position >= _LARGE else _ALIGN))
        sink.write(struct.pack("<Q", len(text)) + text)
        for tensor in tensors.values():
            _write(tensor, sink)
        grads = [name for name, tensor in tensors.items() if tensor.requires_grad]
        meta: Meta = (("tensors", len(tensors)), ("one", one), ("ordered", type(value).__qualname__ == "OrderedDict"))
        return (*meta, ("requires_grad", grads)) if grads else meta

    def load(self, source: Source) -> Any:
        """Return tensors over the file; writing to one changes the memory of this process only."""
        tensors = read_tensors(source.buffer())
        for name in source.meta("requires_grad") or ():
            tensors[name].requires_grad_()
        if source.meta("one"):
            return tensors[_ONE]
        from collections import OrderedDict  # noqa: PLC0415

        return OrderedDict(tensors) if source.meta("ordered") else tensors


def _write(tensor: Any, sink: Sink) -> None:
    import torch  # noqa: PLC0415

    if tensor.numel():
        flat = tensor.detach().cpu().contiguous().reshape(-1)
        sink.lend(memoryview(flat.view(torch.uint8).numpy()))


def read_tensors(view: memoryview) -> dict[str, Any]:
    """Return the tensors of a safetensors file, over the same memory.

    Raises:
        ValueError: The header tells of data that are not there.
    """
    import torch  # noqa: PLC0415

    kinds = {short: getattr(torch, name) for name, short in _NAMES.items() if hasattr(torch, name)}
    (length,) = struct.unpack("<Q", view[:8])
    if length > min(_MOST_HEADER, len(view) - 8):
        raise ValueError(f"the header has {length} bytes, which is too many")
    header = json.loads(bytes(view[8 : 8 + length]))
    header.pop("__metadata__", None)
    data = view[8 + length :]
    tensors: dict[str, Any] = {}
    for name, entry in header.items():
        start, stop = entry["data_offsets"]
        dtype = kinds[entry["dtype"]]
        count = math.prod(entry["shape"])
        if not 0 <= start <= stop <= len(data) or count * dtype.itemsize != stop - start:
            raise ValueError(f"the tensor {name!r} is said to be where no such data are")
        made = torch.frombuffer(data, dtype=dtype, count=count, offset=start) if count else torch.empty(0, dtype=dtype)
        tensors[name] = made.reshape(entry["shape"])
    return tensors


class Memory:
    """The memory of some tensors of one pickle: pickled once, so that those that share it still do afterwards."""

    def __init__(self, storage: Any) -> None:
        self.storage = storage

    def __reduce__(self) -> tuple[Any, ...]:
        import pickle  # noqa: PLC0415

        import torch  # noqa: PLC0415

        flat = torch.empty(0, dtype=torch.uint8).set_(self.storage, 0, (self.storage.nbytes(),), (1,))
        return memory_of, (pickle.PickleBuffer(flat.numpy()),)


def reduce_tensor(tensor: Any, memories: dict[int, Memory]) -> Any:
    """Return how to pickle a tensor with its data beside the pickle; `NotImplemented` where PyTorch's own way is needed.

    Args:
        tensor: The tensor.
        memories: Those that tensors of the same pickle lie in, by address.
    """
    if not is_plain_tensor(tensor) or tensor.requires_grad or not tensor.numel() or tensor.device.type != "cpu":
        return NotImplemented
    storage = tensor.untyped_storage()
    memory = memories.setdefault(storage.data_ptr(), Memory(storage))
    dtype = str(tensor.dtype).removeprefix("torch.")
    return rebuilt, (memory, dtype, tensor.storage_offset(), tuple(tensor.shape), tuple(tensor.stride()))


def memory_of(data: Any) -> Any:
    """Return memory for tensors over what was read."""
    import torch  # noqa: PLC0415

    view = memoryview(data)
    return torch.frombuffer(bytearray(view) if view.readonly else view, dtype=torch.uint8).untyped_storage()


def rebuilt(storage: Any, dtype: str, offset: int, shape: tuple[int, ...], stride: tuple[int, ...]) -> Any:
    """Return the tensor that :func:`reduce_tensor` took apart."""
    import torch  # noqa: PLC0415

    return torch.empty(0, dtype=getattr(torch, dtype)).set_(storage, offset, shape, stride)
