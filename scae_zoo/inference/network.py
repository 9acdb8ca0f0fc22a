"""A network on its device, asked in the precision that is fast there."""

import sys
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

import torch
from timm.models import reparameterize_model
from torch.nn.modules.conv import _ConvNd

from ..data.cache import Sample, decode
from ..images import ImageError
from ..models.encoder_decoder import EncoderDecoder
from ..models.scae import ScaeEncoder
from ..pixels import normalize
from ..training.precision import fast_forward, precision
from .batching import batches_of, central_crop
from .photographs import Photograph
from .strips import STRIP, in_strips

M = TypeVar('M', bound=ScaeEncoder | EncoderDecoder)


class Network(Generic[M]):
    """A network that answers: in evaluation mode, its norms folded into its convolutions, channels last, bfloat16 where
    the device computes with it.

    Args:
        model: An encoder, an auto-encoder or a segmenter, which is changed so.
        device: Where it runs.
    """

    def __init__(self, model: M, device: torch.device) -> None:
        self.model = model
        reparameterize_model(model.eval(), inplace=True)
        model.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        for conv in model.modules():
            if isinstance(conv, _ConvNd):  # once: autocast would do it for each strip
                conv.weight.data = conv.weight.data.to(precision(device))
        self.device = device
        cfg = model.pretrained_cfg
        self.mean, self.std = cfg['mean'], cfg['std']
        self.crop: int = cfg['input_size'][-1]
        self.size = max(self.crop, round(self.crop / cfg['crop_pct']))  # that images are scaled to, then cropped

    @property
    def precision(self) -> str:
        return str(precision(self.device)).removeprefix('torch.')

    def class_names(self, number: int) -> tuple[str, ...]:
        """The names of its classes; their numbers, where its configuration names others."""
        names = tuple(self.model.pretrained_cfg.get('label_names') or ())
        if names and len(names) != number:
            print(f'the configuration names {len(names)} classes, but the network has {number}: they are called by '
                  'their numbers', file=sys.stderr)
        return names if len(names) == number else tuple(map(str, range(number)))

    def input(self, pixels: torch.Tensor) -> torch.Tensor:
        """N x 3 x H x W uint8 pixels as the network sees them, on its device."""
        return normalize(pixels.to(self.device), self.mean, self.std).contiguous(memory_format=torch.channels_last)

    def square(self, photograph: Photograph) -> torch.Tensor:
        """The middle of a photograph, 3 x crop x crop uint8, as a classifier is trained and measured on.

        Raises:
            ImageError: The file cannot be read.
        """
        found = decode(Sample(str(photograph.path), photograph.path), self.size)
        if isinstance(found, ImageError):
            raise found
        return central_crop(torch.from_numpy(found.pixels).permute(2, 0, 1), self.crop)

    @torch.inference_mode()
    def of_squares(self, answer: Callable[[torch.Tensor], torch.Tensor], pixels: torch.Tensor) -> torch.Tensor:
        """What ``answer`` makes of N x 3 x crop x crop uint8 pixels as the network sees them: N x K float32 on the
        CPU."""
        with fast_forward(self.device):
            return torch.cat([answer(self.input(batch)).float().cpu() for batch in batches_of(pixels)])

    @torch.inference_mode()
    def of_images(
            self,
            after: Callable[[torch.Tensor], torch.Tensor],
            images: Sequence[torch.Tensor],
            before: Callable[[torch.Tensor], torch.Tensor] | None = None,
    ) -> list[torch.Tensor]:
        """What ``after`` makes of the output for whole images of any size, K x H x W each: those of one size together,
        large ones strip by strip.

        Args:
            after: As ``in_strips`` has it.
            images: 3 x H x W uint8 pixels, or what ``before`` takes.
            before: What makes the network's input of N of them; by default ``input``.
        """
        by_size: dict[torch.Size, list[int]] = {}
        for number, image in enumerate(images):
            by_size.setdefault(image.shape, []).append(number)
        found: dict[int, torch.Tensor] = {}
        for shape, numbers in by_size.items():
            # one alone is not copied: it may be large
            x = torch.stack([images[n] for n in numbers]) if len(numbers) > 1 else images[numbers[0]][None]
            for batch, some in zip(x.split(at_once := max(1, STRIP // (shape[1] * shape[2]))),
                                   (numbers[i:i + at_once] for i in range(0, len(numbers), at_once)), strict=True):
                with fast_forward(self.device):
                    result = in_strips(self.model, batch, before or self.input, after)  # type: ignore[arg-type]
                found |= dict(zip(some, result, strict=True))
        return [found[number] for number in range(len(images))]
