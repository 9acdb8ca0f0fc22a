"""Measured figures as people read them."""

import json
import math
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any

from ..checkpoints.folder import as_json

UNITS = {  # of the figures in metrics.json, by the beginning of their keys
    'denoising_psnr': ' dB', 'filling_psnr': ' dB', 'accuracy': ' %', 'mean_average_precision': ' %', 'mean_iou': ' %',
    'training_seconds': ' s'}
CONDITIONS = {  # and of what stands beside one of them
    'sigma': ' of 255', 'corruption': '', 'size': ' pixels', 'crop': ' pixels', 'seed': '',
    'noisy_ssim': '', 'denoised_ssim': ''}
PER_CLASS = {'average_precision': 'image', 'iou': 'pixel'}  # in percent; of a class that no image or pixel has, none

CARD = {  # what is printed of a checkpoint's entry in metrics.json beside the same figure, measured again
    'denoising_psnr': '{denoised:.2f} dB mean over {images} images',
    'filling_psnr': '{filled_inside:.2f} dB inside the blocks, {filled:.2f} dB of the whole image, {images} images',
    'accuracy': '{value:.2f} %, {flip_average:.2f} % with the mirrored crop, {images} images',
    'mean_average_precision': '{value:.2f} % mean over {images} images',
    'mean_iou': '{value:.2f} % over {images} images',
}


def print_json(value: Any) -> None:
    print(json.dumps(as_json(value), indent=2))


def percent(value: float | None, what: str) -> str:
    """A class's figure; where there is none, no such ``what``, 'image' or 'pixel', was there to be measured on."""
    return f'absent: no such {what}' if value is None or math.isnan(value) else f'{value:.2f} %'


def metric_lines(metrics: Mapping[str, Any]) -> Iterator[str]:
    """``metrics.json``, to be read: a line a figure, four digits of each number, with its unit."""
    for key, value in metrics.items():
        if key in PER_CLASS and isinstance(value, dict):
            yield f'{key}: ' + ', '.join(f'{name} {percent(each, PER_CLASS[key])}' for name, each in value.items())
        else:
            values = value if isinstance(value, dict) else {'': value}
            yield f'{key}: ' + ', '.join(_figure(key, name, each) for name, each in values.items())


def _figure(key: str, name: str, value: Any) -> str:
    if name in ('images', 'crops'):
        return f'{value} {name}'
    if value is None or value != value:
        value, unit = 'absent', ''
    elif isinstance(value, bool):
        value, unit = 'yes' if value else 'no', ''
    else:
        unit = CONDITIONS.get(name, next((unit for start, unit in UNITS.items() if key.startswith(start)), ''))
    text = f'{value:.4g}' if isinstance(value, float) else value
    return f'{"" if name == "value" else name} {text}{unit}'.strip()


def evaluation_lines(found: Mapping[str, Any]) -> Iterator[str]:
    """What `scae evaluate` has found, to be read, and the card's figure where there is one."""
    key, figures = next(iter(found['measured'].items()))
    write = {'denoising_psnr': _denoising, 'filling_psnr': _filling, 'accuracy': _accuracy,
             'mean_average_precision': _average_precision, 'mean_iou': _iou}[key]
    first, *lines = write(found, figures)
    yield f'{found["name"]}: {found["images"]} images{first}'
    yield from (f'  {line}' for line in lines)
    with suppress(KeyError, TypeError, ValueError):  # others may write what they like there, or nothing
        yield f'  card      {CARD[key].format(**found["card"][key])}'


def _crops(found: Mapping[str, Any]) -> str:
    return f', central crops of {found["crop"]} x {found["crop"]}' if found['crop'] else ''


def _denoising(found: Mapping[str, Any], figures: Mapping[str, float]) -> Iterator[str]:
    sigma = found['corruption'].partition(':')[2]
    yield f'{_crops(found)}, Gaussian noise of sigma {sigma} (of 255), clipped'
    for what in ('noisy', 'denoised'):
        yield (f'{what:<8}  {figures[what]:.2f} dB mean over images, {figures[f"{what}_pooled"]:.2f} dB from the mean '
               f'squared error, SSIM {figures[f"{what}_ssim"]:.4f}')


def _filling(found: Mapping[str, Any], figures: Mapping[str, float]) -> Iterator[str]:
    yield f'{_crops(found)}, {found["corruption"]}, masked pixels in the mean colour'
    for what in ('masked', 'filled'):
        yield (f'{what}    {figures[f"{what}_inside"]:.2f} dB inside the blocks, {figures[what]:.2f} dB of the whole '
               'image, mean over images')


def _accuracy(found: Mapping[str, Any], figures: Mapping[str, float]) -> Iterator[str]:
    yield _crops(found)
    yield f'accuracy  {figures["value"]:.2f} %, {figures["flip_average"]:.2f} % averaged with the mirrored crop'


def _average_precision(found: Mapping[str, Any], figures: Mapping[str, float]) -> Iterator[str]:
    yield f', {found["crops"]} random crops of {found["crop"]} x {found["crop"]}'
    of_classes = found['measured']['average_precision']
    yield from _by_class(of_classes, 'image')
    yield f'mean      {figures["value"]:.2f} % average precision{_of_present(of_classes)}'


def _iou(found: Mapping[str, Any], figures: Mapping[str, float]) -> Iterator[str]:
    yield f', shorter side scaled to {found["size"]}' if found['size'] else ''
    of_classes = found['measured']['iou']
    yield from _by_class(of_classes, 'pixel')
    yield (f'mean IoU  {figures["value"]:.2f} %{_of_present(of_classes)}, pixel accuracy '
           f'{figures["pixel_accuracy"]:.2f} %')


def _by_class(values: Mapping[str, float], what: str) -> Iterator[str]:
    return (f'{name:<16}{percent(value, what)}' for name, value in values.items())


def _of_present(values: Mapping[str, float]) -> str:
    """Of how many classes a figure is the mean, where some are absent."""
    present = sum(not math.isnan(value) for value in values.values())
    return '' if present == len(values) else f' over {present} of {len(values)} classes'
