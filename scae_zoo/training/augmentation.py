"""Random crops, flips and stronger changes of whole batches, on the device that the images are on."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from math import ceil

import numpy as np
import torch
import torch.nn.functional as F


def _uniform(n: int, low: float, high: float, like: torch.Tensor, generator: torch.Generator | None) -> torch.Tensor:
    return low + (high - low) * torch.rand(n, device=like.device, generator=generator)


@dataclass(frozen=True)
class RandomCrop:
    """Crops of ``size`` x ``size`` pixels, one an image.

    Args:
        size: Side of the crop in pixels.
        flip: Mirror half of them.
        pad: Pixels by which a crop may reach over the border, where the image is mirrored.
        scale: Range of the factor by which an image is enlarged before it is cropped, uniform in its logarithm; the
            crop reaches over the border, as by ``pad``, where the image is then too small.
    """

    size: int
    flip: bool = True
    pad: int = 0
    scale: tuple[float, float] = (1., 1.)

    def __call__(
            self,
            images: torch.Tensor,
            index: torch.Tensor,
            targets: torch.Tensor,
            generator: torch.Generator | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Crops of ``images[index]``, n x C x size x size uint8, with ``targets``, cropped likewise if they are masks.

        Args:
            images: N x C x H x W uint8.
            index: n indices.
            targets: The n images' targets; masks are n x H x W.
            generator: On the images' device.
        """
        nhwc = images.permute(0, 2, 3, 1)
        if images.device.type == 'cpu' and self._stays_inside(*nhwc.shape[1:3]):
            # there, copying windows is many times faster than gathering pixels
            windows = self._windows(len(index), nhwc.shape[1], nhwc.shape[2], generator)
            if targets.ndim == 3:
                masks, targets = targets, targets.new_empty(len(index), self.size, self.size)
                self._copy(masks, range(len(index)), windows, targets)
            crops = nhwc.new_empty(len(index), self.size, self.size, nhwc.shape[3])
            self._copy(nhwc, index.tolist(), windows, crops)
        else:
            crops, targets = self._gathered(nhwc, index, targets, generator)
        return crops.permute(0, 3, 1, 2), targets  # in channels_last memory

    def of_one(self, image: np.ndarray, generator: torch.Generator, crop: np.ndarray) -> None:
        """Write into ``crop``, size x size x C, what a call would draw of this image alone, H x W x C uint8."""
        pixels, place = torch.from_numpy(image)[None], torch.from_numpy(crop)[None]
        if self._stays_inside(*image.shape[:2]):
            self._copy(pixels, [0], self._windows(1, image.shape[0], image.shape[1], generator), place)
        else:
            which = torch.zeros(1, dtype=torch.long)
            place.copy_(self._gathered(pixels, which, which, generator)[0])

    def _stays_inside(self, height: int, width: int) -> bool:
        """Whether the crops of an image are in whole pixels and reach over no border."""
        return self._in_whole_pixels and not self.pad and self.size <= min(height, width)

    def _windows(
            self, n: int, height: int, width: int, generator: torch.Generator | None) -> list[tuple[int, int, bool]]:
        """Top, left and whether it is mirrored, of crops that stay inside; what ``_gathered`` draws on a CPU."""
        draws = torch.rand(2 + self.flip, n, generator=generator).numpy()  # as if drawn one after the other
        room = np.array([[height - self.size], [width - self.size]], np.float32)
        tops, lefts = np.minimum(draws[:2] * (room + 1), room).astype(int).tolist()
        return list(zip(tops, lefts, (draws[2] < 0.5).tolist() if self.flip else [False] * n, strict=True))

    def _copy(
            self,
            images: torch.Tensor,
            index: Iterable[int],
            windows: list[tuple[int, int, bool]],
            places: torch.Tensor,
    ) -> None:
        """Write a window of each of the images, N x H x W or N x H x W x C, to its place."""
        for place, i, (top, left, mirrored) in zip(places, index, windows, strict=True):
            part = images[i, top:top + self.size, left:left + self.size]
            place.copy_(part.flip(1) if mirrored else part)

    def _gathered(
            self,
            nhwc: torch.Tensor,
            index: torch.Tensor,
            targets: torch.Tensor,
            generator: torch.Generator | None,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Crops, n x size x size x C, of N x H x W x C images, with their targets."""
        n, device = len(index), nhwc.device
        height, width = nhwc.shape[1:3]
        zoom = torch.ones(n, device=device)
        if not self._in_whole_pixels:
            low, high = torch.tensor(self.scale).log().tolist()
            zoom = _uniform(n, low, high, nhwc, generator).exp()
        rows, cols = self._window(n, height, zoom, generator), self._window(n, width, zoom, generator)
        if self.flip:
            mirrored = torch.rand(n, 1, device=device, generator=generator) < 0.5
            cols = torch.where(mirrored, cols.flip(1), cols)
        near_rows, near_cols = rows.round().long()[:, :, None], cols.round().long()[:, None, :]
        if self._in_whole_pixels:
            crops = nhwc[index[:, None, None], near_rows, near_cols]
        else:
            crops = _bilinear(nhwc, index, rows, cols, height, width)
        if targets.ndim == 3:
            targets = targets[torch.arange(n, device=device)[:, None, None], near_rows, near_cols]
        return crops, targets

    @property
    def _in_whole_pixels(self) -> bool:
        return self.scale == (1., 1.)

    def at(self, epoch: int) -> 'RandomCrop':
        """The crop of an epoch, counted from 0."""
        return self

    def _window(self, n: int, side: int, zoom: torch.Tensor, generator: torch.Generator | None) -> torch.Tensor:
        """Positions, n x size, in pixels of the image, of a crop of the image enlarged by ``zoom``."""
        span = (self.size - 1) / zoom
        room = (side - 1 - span).clamp(min=0) + 2 * self.pad
        over = (span - (side - 1)).clamp(min=0)  # too small: its middle in the middle of the crop
        start = torch.rand(n, device=zoom.device, generator=generator)
        # whole pixels are each as likely
        start = (start * (room + 1)).floor().clamp(max=room) if self._in_whole_pixels else start * room
        start = start - self.pad - over / 2
        positions = start[:, None] + torch.arange(self.size, device=zoom.device) / zoom[:, None]
        return _mirror(positions, side)


@dataclass(frozen=True)
class GrowingCrop(RandomCrop):
    """Progressive resizing (Howard 2018; Tan & Le 2021, section 4): crops that are smaller in the first epochs, and
    with them the images, so that a crop shows as much. Small ones cost little, and teach most of what large ones do.

    Args:
        first_size: Side of the crops in the first epoch, in pixels. It grows evenly, to ``size`` in the last fifth.
        epochs: Of the run.
    """

    first_size: int = field(kw_only=True)
    epochs: int = field(kw_only=True)

    def at(self, epoch: int) -> RandomCrop:
        rise = min(self.epochs * 0.8, self.epochs - 1)  # few epochs have no fifth: the last one is whole all the same
        grown = epoch / rise if rise else 1.
        size = ceil((self.first_size + (self.size - self.first_size) * grown) / 2) * 2  # even: strides waste nothing
        size = min(size, self.size)
        low, high = (factor * size / self.size for factor in self.scale)
        return RandomCrop(size, self.flip, self.pad, (low, high))


def growing(crop: RandomCrop, first_size: int | None, epochs: int) -> RandomCrop:
    """The crop, growing from ``first_size`` over the epochs where that is given (``--first-crop``).

    Raises:
        ValueError: It would shrink.
    """
    if first_size is None:
        return crop
    if first_size > crop.size:
        raise ValueError(f'--first-crop {first_size} is more than --crop {crop.size}')
    return GrowingCrop(**vars(crop), first_size=first_size, epochs=epochs)


def _mirror(positions: torch.Tensor, side: int) -> torch.Tensor:
    """Positions beyond the border, folded back into 0 … side - 1."""
    period = max(2 * (side - 1), 1)
    positions = positions.remainder(period)
    return torch.where(positions > side - 1, period - positions, positions).clamp_(0, side - 1)


def _bilinear(nhwc, index, rows, cols, height, width) -> torch.Tensor:
    top, left = rows.floor(), cols.floor()
    down, right = (rows - top)[:, :, None, None], (cols - left)[:, None, :, None]
    top, left = top.long(), left.long()
    bottom, beside = (top + 1).clamp_(max=height - 1), (left + 1).clamp_(max=width - 1)

    def at(r: torch.Tensor, c: torch.Tensor) -> torch.Tensor:
        return nhwc[index[:, None, None], r[:, :, None], c[:, None, :]].float()

    upper = torch.lerp(at(top, left), at(top, beside), right)
    lower = torch.lerp(at(bottom, left), at(bottom, beside), right)
    return torch.lerp(upper, lower, down).round_().byte()


@dataclass(frozen=True)
class StrongAugmentation:
    """Changes of colour and shape in the spirit of RandAugment (Cubuk et al. 2020) and Cutout (DeVries & Taylor 2017),
    drawn for each image of a batch at once.

    Args:
        strength: 0 does nothing; 1 turns by up to 30 degrees, shears by up to 0.3, scales by 0.7-1.4, and changes
            brightness, contrast and saturation by up to 0.9, each for half of the images; other values in proportion.
        cutout: Side of the square that is set to 0, as a share of the image's side; its middle may be anywhere.
    """

    strength: float = 0.5
    cutout: float = 0.5

    def __call__(self, x: torch.Tensor, generator: torch.Generator | None = None) -> torch.Tensor:
        """A changed copy of ``x``, N x C x H x W in normalised units (0 is the mean)."""
        if self.strength:
            x = self._colour(self._affine(x, generator), generator)
        return self._cut(x, generator) if self.cutout else x

    def _draw(self, x: torch.Tensor, reach: float, generator: torch.Generator | None) -> torch.Tensor:
        """A value an image from -reach to reach times the strength, 0 for half of them."""
        reach *= self.strength
        used = torch.rand(len(x), device=x.device, generator=generator) < 0.5
        return _uniform(len(x), -reach, reach, x, generator) * used

    def _affine(self, x: torch.Tensor, generator: torch.Generator | None) -> torch.Tensor:
        angle, shear, size = (self._draw(x, reach, generator) for reach in (torch.pi / 6, 0.3, 0.35))
        cos, sin, zoom = angle.cos(), angle.sin(), size.exp()
        zero = torch.zeros_like(cos)
        theta = torch.stack([
            torch.stack([cos * zoom, (shear * cos - sin) * zoom, zero], 1),
            torch.stack([sin * zoom, (shear * sin + cos) * zoom, zero], 1),
        ], 1)
        grid = F.affine_grid(theta.to(x.dtype), list(x.shape), align_corners=False)
        moved = F.grid_sample(x, grid, mode='bilinear', padding_mode='reflection', align_corners=False)
        return moved.contiguous(memory_format=torch.channels_last)

    def _colour(self, x: torch.Tensor, generator: torch.Generator | None) -> torch.Tensor:
        brightness, contrast, saturation = (
            self._draw(x, reach, generator).view(-1, 1, 1, 1) for reach in (0.9, 0.9, 0.9))
        grey = x.mean(1, keepdim=True)
        x = torch.lerp(grey, x, 1 + saturation)
        middle = x.mean((1, 2, 3), keepdim=True)
        return torch.lerp(middle, x, 1 + contrast) + brightness

    def _cut(self, x: torch.Tensor, generator: torch.Generator | None) -> torch.Tensor:
        n, _, height, width = x.shape
        inside = []
        for side in (height, width):
            middle = torch.rand(n, 1, device=x.device, generator=generator) * side
            away = (torch.arange(side, device=x.device) + 0.5 - middle).abs()
            inside.append(away < self.cutout * side / 2)
        hole = inside[0][:, None, :, None] & inside[1][:, None, None, :]
        return x.masked_fill(hole, 0)


@dataclass(frozen=True)
class Mix:
    """Mixup (Zhang et al. 2018) or CutMix (Yun et al. 2019) of each image of a batch with another, half of each where
    both are on.

    Args:
        mixup: Both parameters of the beta distribution of the share; 0: no mixup.
        cutmix: Likewise of CutMix.
    """

    mixup: float = 0.
    cutmix: float = 0.

    def __call__(
            self,
            x: torch.Tensor,
            targets: torch.Tensor,
            generator: torch.Generator | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Mixed images and targets.

        Args:
            x: N x C x H x W.
            targets: N x K, shares of the classes.
        """
        if not (self.mixup or self.cutmix):
            return x, targets
        n, _, height, width = x.shape
        partner = torch.randperm(n, device=x.device, generator=generator)
        cut = torch.rand(n, device=x.device, generator=generator) < (
            0.5 if self.mixup and self.cutmix else float(self.cutmix > 0))
        share = torch.where(
            cut, _beta(n, self.cutmix or 1., x, generator), _beta(n, self.mixup or 1., x, generator))
        inside = []
        for side in (height, width):
            length = ((1 - share).sqrt() * side).round()
            start = (torch.rand(n, device=x.device, generator=generator) * (side - length + 1)).floor()
            at = torch.arange(side, device=x.device)
            inside.append((at >= start[:, None]) & (at < (start + length)[:, None]))
        box = inside[0][:, None, :, None] & inside[1][:, None, None, :]
        share = torch.where(cut, 1 - box.float().mean((1, 2, 3)), share)
        weight = torch.where(cut.view(-1, 1, 1, 1), (~box).to(x.dtype), share.to(x.dtype).view(-1, 1, 1, 1))
        return torch.lerp(x[partner], x, weight), torch.lerp(targets[partner], targets, share[:, None])


def _beta(n: int, alpha: float, like: torch.Tensor, generator: torch.Generator | None) -> torch.Tensor:
    """Draws of Beta(alpha, alpha), as ratios of gamma draws."""
    draw = torch._standard_gamma(torch.full((2, n), alpha, device=like.device), generator=generator)
    return draw[0] / draw.sum(0).clamp(min=1e-12)
