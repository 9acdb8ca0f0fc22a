"""Measures against figures worked out by hand."""

import math
from collections.abc import Callable

import pytest
import torch

from scae_zoo import create_segmenter
from scae_zoo.data.image_set import ImageSet
from scae_zoo.data.masks import IGNORED
from scae_zoo.evaluation.classification import (
    accuracies,
    accuracy,
    average_precisions,
    logits,
    logits_and_flip_average,
    mean_average_precision,
    ten_crop_scores,
)
from scae_zoo.evaluation.denoising import psnr
from scae_zoo.evaluation.features import knn_accuracy, linear_accuracy
from scae_zoo.evaluation.segmentation import mean_iou
from scae_zoo.inference.batching import batches_of, central_crop
from scae_zoo.methods.runs import by_class
from scae_zoo.pixels import normalize
from scae_zoo.training.augmentation import RandomCrop
from scae_zoo.training.tasks import segmentation_loss

HALF = (0.5, 0.5, 0.5)


class Means(torch.nn.Module):
    """As features of an image, in 0-255 units, the means of its left and its right half."""

    def __init__(self) -> None:
        super().__init__()
        self.unused = torch.nn.Parameter(torch.zeros(1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        pixels = x * 127.5 + 127.5
        half = x.shape[3] // 2
        return torch.stack([pixels[..., :half].mean((1, 2, 3)), pixels[..., half:].mean((1, 2, 3))], 1)


class FirstChannel(Means):
    """A segmenter that takes an image's first channel for the class of each pixel."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        classes = (x[:, 0] * 127.5 + 127.5).round().long()
        return torch.nn.functional.one_hot(classes, 4).permute(0, 3, 1, 2).float()


def test_psnr() -> None:
    a = torch.full((3, 3, 4, 4), 30, dtype=torch.uint8)
    b = a.clone()
    a[0], b[0] = 255, 0
    b[1] += 10
    b[2, :, :2] -= 10
    torch.testing.assert_close(psnr(a, b), torch.tensor([0., 28.1308, 31.1411]), atol=1e-3, rtol=0)


def test_accuracy() -> None:
    output = torch.tensor([[3., 1., 2.], [0., 5., 1.], [9., 8., 7.], [0., 0., 1.]])
    assert accuracy(output, torch.tensor([0, 1, 2, 2])) == 75


def test_average_precision() -> None:
    """Ranks of the positives 1 and 3 of those counted: (1/1 + 2/3) / 2; a class without a positive has none."""
    scores = torch.tensor([[.9, .1], [.8, .2], [.7, .3], [.6, .4], [.5, .5]])
    targets = torch.tensor([[1, 0], [-1, 0], [0, 0], [1, -1], [0, 0]]).float()
    first, second = average_precisions(scores, targets)
    assert first == pytest.approx(100 * (1 + 2 / 3) / 2)
    assert math.isnan(second)
    assert mean_average_precision([first, second]) == pytest.approx(first)
    assert by_class(('a', 'b'), [first, second]) == {'a': first, 'b': None}
    targets[1, 0] = 0  # counted now, it stands before the second positive
    assert average_precisions(scores, targets)[0] == pytest.approx(100 * (1 + 2 / 4) / 2)


def test_mean_iou() -> None:
    """Class 2 is in no mask and no prediction, class 3 only in a prediction, 255 is left out."""
    predicted = torch.tensor([[0, 0, 1, 1], [0, 1, 3, 1]], dtype=torch.uint8)
    mask = torch.tensor([[0, 1, 1, 1], [0, 0, 1, 255]], dtype=torch.uint8)
    pairs = [(predicted.expand(3, 2, 4), mask), (predicted[:, :2].expand(3, 2, 2), mask[:, :2])]
    result = mean_iou(FirstChannel(), pairs, 4, HALF, HALF)
    # class 0: both images 2 hits, a miss each way; class 1: 2 hits, 3 missed (a 3 for one), 2 too many
    assert result.images == 2
    assert result.per_class[0] == pytest.approx(100 * 4 / 8)
    assert result.per_class[1] == pytest.approx(100 * 2 / 7)
    assert math.isnan(result.per_class[2])
    assert result.per_class[3] == 0
    assert result.miou == pytest.approx(100 * (4 / 8 + 2 / 7 + 0) / 3)
    assert result.pixel_accuracy == pytest.approx(100 * 6 / 11)


def test_mean_iou_of_a_scaled_image_is_that_on_its_own_mask() -> None:
    """Each pixel of the mask is given the class of the predicted pixel that it lies in."""
    predicted = torch.tensor([[0, 1], [1, 1]], dtype=torch.uint8).expand(3, 2, 2)
    mask = torch.tensor([[0, 0, 0, 1], [0, 0, 1, 1], [1, 1, 1, 1], [1, 1, 1, 1]], dtype=torch.uint8)
    result = mean_iou(FirstChannel(), [(predicted, mask)], 2, HALF, HALF)
    assert result.per_class == [pytest.approx(100 * 4 / 5), pytest.approx(100 * 11 / 12)]
    predicted = torch.tensor([[0, 0, 1], [0, 0, 1], [0, 0, 1], [1, 1, 1]], dtype=torch.uint8).expand(3, 4, 3)
    result = mean_iou(FirstChannel(), [(predicted, torch.tensor([[0, 1]], dtype=torch.uint8))], 2, HALF, HALF)
    assert result.per_class == [100, 100]


def test_mean_iou_of_nothing() -> None:
    image = torch.zeros(3, 2, 2, dtype=torch.uint8)
    with pytest.raises(ValueError, match='no image with a pixel that is counted'):
        mean_iou(FirstChannel(), [], 4, HALF, HALF)
    with pytest.raises(ValueError, match='no image with a pixel that is counted'):
        mean_iou(FirstChannel(), [(image, torch.full((2, 2), IGNORED, dtype=torch.uint8))], 4, HALF, HALF)
    for value in (4, 9):
        with pytest.raises(ValueError, match=f'a mask has class {value}, but the segmenter knows only 0 to 3'):
            mean_iou(FirstChannel(), [(image, torch.full((2, 2), value, dtype=torch.uint8))], 4, HALF, HALF)


def test_mean_iou_of_images_too_small_for_a_network() -> None:
    """They are enlarged first; only what was there is measured."""
    model = create_segmenter('scae_springenberg9', 2, 'random').eval()
    torch.nn.init.zeros_(model.decoder.head.weight)
    model.decoder.head.bias.data = torch.tensor([0., 1.])
    mask = torch.tensor([[0, 1, 1], [1, 255, 1]], dtype=torch.uint8)
    result = mean_iou(model, [(torch.zeros(3, 2, 3, dtype=torch.uint8), mask)], 2, HALF, HALF)
    assert result.per_class == [0, 80]
    assert result.pixel_accuracy == 80


def test_knn() -> None:
    """By the angle, not the length: (9, 1) is nearest to (1, 0)."""
    train = torch.tensor([[1., 0.], [2., .1], [0., 9.], [.1, 8.]])
    targets = torch.tensor([0, 0, 1, 1])
    test = torch.tensor([[9., 1.], [.1, .9], [.9, .1]])
    assert knn_accuracy(train, targets, test, torch.tensor([0, 1, 1]), neighbours=2) == pytest.approx(200 / 3)


def test_central_crop() -> None:
    image = torch.arange(7 * 6).view(1, 1, 7, 6)
    assert central_crop(image, 3)[0, 0, 0, 0] == 2 * 6 + 1
    assert central_crop(image, 6).shape == (1, 1, 6, 6)


def test_logits() -> None:
    images = torch.zeros(5, 3, 8, 8, dtype=torch.uint8)
    images[..., :4] = torch.arange(5, dtype=torch.uint8)[:, None, None, None] * 20
    images[..., 0] = 255  # outside of the crop
    plain = logits(Means(), images, HALF, HALF, crop=4, batch_size=2)
    left = torch.arange(5) * 20.
    torch.testing.assert_close(plain, torch.stack([left, torch.zeros(5)], 1), atol=1e-3, rtol=0)
    mirrored = logits(Means(), images, HALF, HALF, crop=4, mirrored=True)
    torch.testing.assert_close(mirrored, torch.stack([torch.zeros(5), left], 1), atol=1e-3, rtol=0)


def test_flip_average() -> None:
    """The mean of the answers to the image and to its mirror."""
    images = torch.zeros(2, 3, 8, 8, dtype=torch.uint8)
    images[0, ..., :4] = 100
    images[1, ..., 4:] = 60
    plain, averaged = logits_and_flip_average(Means(), images, HALF, HALF, 6)
    torch.testing.assert_close(plain, torch.tensor([[100., 0], [0, 60]]), atol=1e-3, rtol=0)
    torch.testing.assert_close(averaged, torch.tensor([[50., 50], [30, 30]]), atol=1e-3, rtol=0)


def test_accuracies() -> None:
    """The mirror image is right where the image itself is wrong, and surer of it."""
    images = torch.zeros(2, 3, 8, 8, dtype=torch.uint8)
    images[..., 2:4] = 100
    images[..., 4:6] = 20

    class SureOfMirrors(Means):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            y = super().forward(x)
            return torch.where(y[:, :1] < y[:, 1:], 2 * y, y)

    data = ImageSet(images, torch.ones(2, dtype=torch.long), ('left', 'right'))
    cfg = {'mean': HALF, 'std': HALF}
    assert accuracies(SureOfMirrors(), data, cfg, crop=4) == (0., 100.)


def test_ten_crops() -> None:
    """Ten crops of each image, some of them mirrored; each image keeps its row."""
    images = torch.zeros(7, 3, 8, 8, dtype=torch.uint8)
    images[..., :4] = 100
    images += torch.arange(7, dtype=torch.uint8)[:, None, None, None]
    scores = ten_crop_scores(Means(), images, HALF, HALF, 8, batch_size=3)
    assert scores.shape == (7, 2)
    torch.testing.assert_close(scores.sum(1), 100 + 2 * torch.arange(7.), atol=1e-3, rtol=0)
    tenths = (scores[:, 0] - torch.arange(7)) / 10
    torch.testing.assert_close(tenths, tenths.round(), atol=1e-3, rtol=0)
    assert 0 < tenths.mean() < 10
    assert torch.equal(ten_crop_scores(Means(), images, HALF, HALF, 8, batch_size=3), scores)
    index = torch.zeros(10, dtype=torch.long)
    crops, _ = RandomCrop(8)(images, index, index, torch.Generator().manual_seed(0))
    scores = ten_crop_scores(Means(), images[:1], HALF, HALF, 8)
    torch.testing.assert_close(scores[0], Means()(normalize(crops, HALF, HALF)).mean(0), atol=1e-3, rtol=0)


def test_a_batch_without_counted_pixels_has_no_loss() -> None:
    logits = torch.randn(2, 3, 4, 4, requires_grad=True)
    loss = segmentation_loss(logits, torch.full((2, 4, 4), 255, dtype=torch.uint8))
    loss.backward()
    assert loss == 0
    assert not logits.grad.any()


def test_no_crop_of_smaller_images() -> None:
    images = torch.zeros(1, 3, 30, 40, dtype=torch.uint8)
    with pytest.raises(ValueError, match='images of 30x40 have no crop of 32 pixels; give a larger --size'):
        central_crop(images, 32)
    with pytest.raises(ValueError, match='images of 30x40 have no crop of 32 pixels'):
        ten_crop_scores(Means(), images, HALF, HALF, 32)


def test_large_images_are_measured_a_few_at_a_time() -> None:
    """A network's features of 250 photographs would fill the memory."""
    seen = []

    class Watched(Means):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            seen.append(len(x))
            return super().forward(x)

    def sizes(images: int, side: int, measure: Callable[..., torch.Tensor], crop: int, **kwargs: int) -> list[int]:
        seen.clear()
        measure(Watched(), torch.zeros(images, 3, side, side, dtype=torch.uint8), HALF, HALF, crop=crop, **kwargs)
        return seen

    assert sizes(40, 256, logits, 256) == [32, 8]  # 2^21 pixels
    assert sizes(40, 256, logits, 128) == [40]
    assert sizes(5, 256, ten_crop_scores, 256) == [30, 20]
    assert sizes(3, 16, logits, 16, batch_size=2) == [2, 1]
    assert sizes(3, 16, ten_crop_scores, 16, batch_size=2) == [20, 10]


def test_how_many_images_at_a_time() -> None:
    """As many as 250, or 2^21 pixels of what the network sees of them; at least one."""
    def sizes(images: int, height: int, width: int, *args: int) -> list[int]:
        return [len(part) for part in batches_of(torch.zeros(images, 1, height, width), *args)]

    assert sizes(501, 4, 4) == [250, 250, 1]
    assert sizes(11, 1024, 512) == [4, 4, 3]
    assert sizes(5, 1024, 512, 1024) == [2, 2, 1]
    assert sizes(2, 2048, 2048) == [1, 1]
    assert sizes(5, 4, 4, 4, 2) == [2, 2, 1]


def test_linear_accuracy() -> None:
    """Of two features of very different scales the classes differ in the small one, where a penalty on large weights
    would leave nothing but which class has more images. One test image lies on the wrong side."""
    x = torch.arange(-30., 10.)[:, None] + 0.5
    train = torch.cat([x * 1e-4, torch.full_like(x, 1e4)], 1)
    targets = (x[:, 0] > 0).long()
    test = torch.tensor([[-5e-4, 1e4], [5e-4, 1e4], [9e-4, 1e4], [3e-4, 1e4]])
    assert linear_accuracy(train, targets, test, torch.tensor([0, 1, 1, 0])) == pytest.approx(75)
