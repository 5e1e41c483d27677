import pytest
import torch

from segmenter import UnusableDevice
from segmenter.weights import (
    is_device_error,
    pick_device,
    pick_dtype,
    prepare,
    try_out,
)

CPU = torch.device("cpu")


def test_pick_device_takes_the_one_asked_for() -> None:
    assert pick_device("cpu") == torch.device("cpu")
    assert pick_device("cuda:1") == torch.device("cuda", 1)


def test_pick_device_takes_cuda_where_there_is_one() -> None:
    expected = "cuda" if torch.cuda.is_available() else "cpu"

    assert pick_device("auto").type == expected


def test_pick_dtype_is_half_on_a_gpu_and_whole_on_a_cpu() -> None:
    assert pick_dtype(torch.device("cuda"), "auto") == torch.float16
    assert pick_dtype(CPU, "auto") == torch.float32
    assert pick_dtype(CPU, "bfloat16") == torch.bfloat16
    with pytest.raises(ValueError, match=r"float16.*use float32"):
        pick_dtype(CPU, "float16")
    with pytest.raises(ValueError, match=r"int8.*auto, float32"):
        pick_dtype(CPU, "int8")


def test_prepare_keeps_the_order_of_the_weights_where_it_is_asked_to() -> None:
    by_channel = prepare(torch.nn.Conv2d(3, 4, 3), CPU)
    plain = prepare(torch.nn.Conv2d(3, 4, 3), CPU, channels_last=False)

    assert by_channel.weight.is_contiguous(memory_format=torch.channels_last)
    assert plain.weight.is_contiguous()
    assert not plain.training
    assert not plain.weight.requires_grad


def test_try_out_takes_what_the_cpu_computes_in() -> None:
    try_out(CPU, torch.float32)
    try_out(CPU, torch.bfloat16)


@pytest.mark.parametrize("name", ["nonsense", "cuda:99", "cuda:nonsense"])
def test_a_device_that_is_not_there_is_told_before_any_model(name: str) -> None:
    with pytest.raises(UnusableDevice) as caught:
        try_out(pick_device(name), torch.float32)

    assert caught.value.device == name
    assert caught.value.reason


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        pytest.param(torch.OutOfMemoryError("CUDA out of memory."), True, id="memory"),
        pytest.param(RuntimeError("MPS backend out of memory"), True, id="mps"),
        pytest.param(RuntimeError("CUDA error: device-side assert"), True, id="cuda"),
        pytest.param(
            RuntimeError("DefaultCPUAllocator: not enough memory: you tried"),
            True,
            id="cpu-memory",
        ),
        pytest.param(
            RuntimeError("mat1 and mat2 shapes cannot be multiplied (9x16 and 24x8)"),
            False,
            id="shapes",
        ),
        pytest.param(ValueError("out of memory of a device"), False, id="no-torch"),
    ],
)
def test_a_device_s_fault_is_told_from_a_model_s(
    error: Exception, expected: bool
) -> None:
    assert is_device_error(error) is expected
