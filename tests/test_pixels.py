"""Pixels of 0 to 255 and the units that the networks see."""

import pytest
import torch

from scae_zoo.pixels import denormalize, normalize


@pytest.mark.parametrize('memory_format', [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize('dtype', [torch.uint8, torch.float32])
@pytest.mark.parametrize('shape', [(3, 3, 7, 5), (1, 1, 4, 6), (2, 5, 1, 1), (2, 3, 8, 1)])
def test_each_channel_is_centred_and_scaled(
        shape: tuple[int, ...], dtype: torch.dtype, memory_format: torch.memory_format) -> None:
    pixels = torch.randint(256, shape).to(dtype).to(memory_format=memory_format)
    before = pixels.clone()
    mean, std = (tuple((start + torch.rand(shape[1]) / 2).tolist()) for start in (0.1, 0.2))
    x = normalize(pixels, mean, std)
    for c, (shift, scale) in enumerate(zip(mean, std, strict=True)):
        torch.testing.assert_close(x[:, c], (before[:, c].float() / 255 - shift) / scale)
    assert x.dtype == torch.float32
    assert x.is_contiguous(memory_format=memory_format)
    assert torch.equal(pixels, before)
    assert torch.equal(denormalize(x, mean, std).round(), before.float())


def test_memory_layout_does_not_change_a_bit() -> None:
    pixels = torch.randint(256, (3, 3, 17, 9), dtype=torch.uint8)
    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    expected = normalize(pixels, mean, std)
    assert torch.equal(normalize(pixels.contiguous(memory_format=torch.channels_last), mean, std), expected)
    assert torch.equal(normalize(pixels.transpose(2, 3), mean, std), expected.transpose(2, 3))
    assert torch.equal(normalize(pixels[0], mean, std), expected[0])
    assert torch.equal(normalize(pixels[:, :, ::2, 3:], mean, std), expected[:, :, ::2, 3:])
