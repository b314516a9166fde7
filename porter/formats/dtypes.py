"""The element types a checkpoint can hold, and what each format calls them.

A dtype travels as a fact beside bytes that nobody interprets, so bfloat16 and the 8-bit floats pass through
although numpy has no name for them. Spellings: PyTorch's storage classes and `torch.dtype` names
(torch/storage.py), the safetensors specification's codes, and MindSpore's `tensor_type` strings
(train/serialization.py, `tensor_to_ms_type`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, eq=False)
class DType:
    """One element type; there is one object of each, so that identity is equality.

    Attributes:
        name: the canonical name, as PyTorch spells it (`float32`).
        itemsize: bytes per element.
        safetensors: its code in a safetensors header, None where the format has none.
        mindspore: its `tensor_type` in a .ckpt, None where MindSpore cannot load it.
        storage: PyTorch's typed storage class, None where PyTorch saves it as an UntypedStorage.
        numpy: little-endian numpy type string of the same element, None where numpy has none.
    """

    name: str
    itemsize: int
    safetensors: str | None = None
    mindspore: str | None = None
    storage: str | None = None
    numpy: str | None = None

    @property
    def is_floating(self) -> bool:
        return self.name.startswith(("float", "bfloat"))

    def __str__(self) -> str:
        return self.name

    def __reduce__(self) -> tuple[Callable[[str], DType], tuple[str]]:
        return _called, (self.name,)


BOOL = DType("bool", 1, "BOOL", "Bool", "BoolStorage", "|b1")
UINT8 = DType("uint8", 1, "U8", "UInt8", "ByteStorage", "|u1")
INT64 = DType("int64", 8, "I64", "Int64", "LongStorage", "<i8")
FLOAT16 = DType("float16", 2, "F16", "Float16", "HalfStorage", "<f2")
BFLOAT16 = DType("bfloat16", 2, "BF16", "BFloat16", "BFloat16Storage")
FLOAT32 = DType("float32", 4, "F32", "Float32", "FloatStorage", "<f4")
FLOAT64 = DType("float64", 8, "F64", "Float64", "DoubleStorage", "<f8")

# A MindSpore .ckpt can hold text (`append_dict={"note": "..."}`), stored as UTF-32-LE: one element a character.
TEXT = DType("str", 4, mindspore="str")

DTYPES: tuple[DType, ...] = (
    BOOL,
    UINT8,
    DType("int8", 1, "I8", "Int8", "CharStorage", "|i1"),
    DType("int16", 2, "I16", "Int16", "ShortStorage", "<i2"),
    DType("uint16", 2, "U16", "UInt16", None, "<u2"),
    DType("int32", 4, "I32", "Int32", "IntStorage", "<i4"),
    DType("uint32", 4, "U32", "UInt32", None, "<u4"),
    INT64,
    DType("uint64", 8, "U64", "UInt64", None, "<u8"),
    FLOAT16,
    BFLOAT16,
    FLOAT32,
    FLOAT64,
    # MindSpore saves complex tensors but cannot load them back (KeyError 'Complex64'): not offered as a target.
    DType("complex64", 8, "C64", None, "ComplexFloatStorage", "<c8"),
    DType("complex128", 16, None, None, "ComplexDoubleStorage", "<c16"),
    DType("float8_e4m3fn", 1, "F8_E4M3"),
    DType("float8_e5m2", 1, "F8_E5M2"),
    DType("float8_e8m0fnu", 1, "F8_E8M0"),
    DType("float8_e4m3fnuz", 1),
    DType("float8_e5m2fnuz", 1),
    TEXT,
)

BY_NAME = {d.name: d for d in DTYPES}
BY_SAFETENSORS = {d.safetensors: d for d in DTYPES if d.safetensors}
BY_MINDSPORE = {d.mindspore: d for d in DTYPES if d.mindspore}
BY_STORAGE = {d.storage: d for d in DTYPES if d.storage}


def _called(name: str) -> DType:
    return BY_NAME[name]
