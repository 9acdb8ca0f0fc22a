"""What the auto-encoders learn to undo: Gaussian pixel noise and block masks, batched, on the image's device."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

import torch

_NUMBER = r'([-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)'


def per_channel(values: Sequence[float], like: torch.Tensor) -> torch.Tensor:
    """A value a channel, C x 1 x 1, of the type and on the device of the images that it is for."""
    # made on the CPU and sent without waiting: else each step would wait until the GPU is done with all before
    return torch.tensor(values, dtype=like.dtype).view(-1, 1, 1).to(like.device, non_blocking=True)


def _check_images(x: torch.Tensor) -> None:
    if not isinstance(x, torch.Tensor):
        raise ValueError(f'images must be a tensor, N x C x H x W or C x H x W, not {type(x).__name__}')
    if x.ndim not in (3, 4) or not x.is_floating_point():
        shape = ' x '.join(map(str, x.shape)) or 'no dimensions'
        raise ValueError('images must be floating-point numbers in normalised units, N x C x H x W or C x H x W, not '
                         f'{str(x.dtype).removeprefix("torch.")} of {shape}')


def _fitting(name: str, values: Sequence[float], channels: int) -> Sequence[float]:
    """The mean or standard deviation of images with that many channels, one value or as many."""
    if channels == 1 and len(set(values)) == 1:  # those of colours, where they do not differ, are those of grey
        return values[:1]
    if len(values) not in (1, channels):  # one channel would broadcast to many
        raise ValueError(f'noise with a {name} of {len(values)} channels does not fit images of {channels}')
    return values


@dataclass(frozen=True)
class GaussianNoise:
    """Adds N(0, sigma) to each pixel (paper, section 2.3).

    Args:
        sigma: Standard deviation in 0-255 pixel units; a pair (low, high) draws one value an image, uniformly.
        mean: The normalisation's channel means, in 0-1 pixel units; one stands for all channels, and several equal ones
            for grey.
        std: The normalisation's channel standard deviations, in 0-1 pixel units; likewise.
        clip: Clip the noisy image to the valid pixel range, as one that is stored in a file is.
    """

    sigma: float | Sequence[float]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    clip: bool = False

    def __post_init__(self) -> None:
        sigma = self.sigma if isinstance(self.sigma, Sequence) else (self.sigma, self.sigma)
        if len(sigma) != 2 or not 0 <= sigma[0] <= sigma[1] < float('inf'):
            raise ValueError('sigma must be a number or a pair (low, high), finite, >= 0 and in order, '
                             f'not {self.sigma}')
        if not min(self.std, default=1) > 0:
            raise ValueError(f'std must be more than 0, not {self.std}')

    @property
    def sigma_range(self) -> tuple[float, float]:
        low, high = self.sigma if isinstance(self.sigma, Sequence) else (self.sigma, self.sigma)
        return low, high

    def __call__(self, x: torch.Tensor, generator: torch.Generator | None = None) -> torch.Tensor:
        """A noisy copy of ``x``, N x C x H x W or C x H x W in normalised units.

        A seed gives the same noise whatever the memory format of ``x``, on the same kind of device.

        Raises:
            ValueError: ``x`` is something else, or has other channels than ``mean`` or ``std``.
        """
        _check_images(x)
        if x.ndim == 3:
            return self(x[None], generator)[0]
        mean, std = (per_channel(_fitting(name, values, x.shape[1]), x)
                     for name, values in (('mean', self.mean), ('std', self.std)))
        low, high = self.sigma_range
        sigma = torch.rand(x.shape[0], 1, 1, 1, device=x.device, dtype=x.dtype, generator=generator)
        sigma = (low + (high - low) * sigma) / 255 / std
        # drawn in the order of memory, and as crops lie there
        noise = torch.empty_like(x, memory_format=torch.channels_last).normal_(generator=generator)
        x = torch.addcmul(x, noise, sigma)
        return torch.clamp(x, -mean / std, (1 - mean) / std) if self.clip else x


@dataclass(frozen=True)
class BlockMask:
    """Sets several small square blocks of each image to 0, the mean after zero-centring (paper, section 2.3).

    The blocks lie on a grid whose offset is drawn for each image, so that none overlap and the masked share is exact
    up to one block and the image's border.

    Args:
        share: Masked share of the image's area, 0-1.
        size: Side of a block in pixels.
    """

    share: float = 0.25
    size: int = 4

    def __post_init__(self) -> None:
        if not 0 <= self.share <= 1:
            raise ValueError(f'share must be between 0 and 1, not {self.share}')
        if not 1 <= self.size <= 65535:
            raise ValueError(f'size must be between 1 and 65535 pixels, not {self.size}')

    def __call__(self, x: torch.Tensor, generator: torch.Generator | None = None) -> torch.Tensor:
        """A masked copy of ``x``, N x C x H x W or C x H x W in normalised units; a ValueError where it is neither."""
        _check_images(x)
        if x.ndim == 3:
            return self(x[None], generator)[0]
        return x.masked_fill(self.blocks(x, generator), 0)

    def blocks(self, x: torch.Tensor, generator: torch.Generator | None = None) -> torch.Tensor:
        """Which pixels of N x C x H x W images a call with the same generator masks, N x 1 x H x W bool."""
        n, _, height, width = x.shape
        rows, cols = ((side + self.size - 2) // self.size + 1 for side in (height, width))  # that any offset shows
        rand = torch.rand(n, rows * cols + 2, device=x.device, generator=generator)
        masked = round(self.share * rows * cols)
        order = rand[:, 2:].argsort(dim=1)
        mask = torch.zeros(n, rows * cols, dtype=torch.bool, device=x.device)
        mask.scatter_(1, order[:, :masked], True)
        offset = (rand[:, :2] * self.size).long()
        y = (torch.arange(height, device=x.device) + offset[:, :1]) // self.size
        z = (torch.arange(width, device=x.device) + offset[:, 1:]) // self.size
        cell = y[:, :, None] * cols + z[:, None, :]
        return mask.gather(1, cell.flatten(1)).view(n, 1, height, width)


def parse_corruption(
        text: str,
        mean: tuple[float, ...],
        std: tuple[float, ...],
        clip: bool = False,
) -> GaussianNoise | BlockMask:
    """The corruption that ``gaussian:25``, ``gaussian:5-50``, ``block:0.25`` or ``block:0.25:8`` names.

    Raises:
        ValueError: ``text`` is none of these; the message is one line that says so.
    """
    gaussian = re.fullmatch(f'gaussian:{_NUMBER}(?:-{_NUMBER})?', text)
    block = re.fullmatch(rf'block:{_NUMBER}(?::(\d{{1,9}}))?', text)
    try:
        if gaussian:
            low, high = gaussian.groups()
            return GaussianNoise((float(low), float(high)) if high else float(low), mean, std, clip)
        if block:
            share, size = block.groups()
            return BlockMask(float(share), int(size)) if size else BlockMask(float(share))
    except ValueError as error:
        raise ValueError(f'corruption {text!r}: {error}') from None
    raise ValueError(f'corruption {text!r} is not known; write gaussian:SIGMA, gaussian:LOW-HIGH or block:SHARE[:SIZE]')
