import pytest
import torch

from segmenter.weights import pick_device, pick_dtype, prepare

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
