"""Measured figures as people read them."""

import math
from collections.abc import Iterator, Mapping
from typing import Any

UNITS = {  # of the figures in metrics.json, by the beginning of their keys
    'denoising_psnr': ' dB', 'filling_psnr': ' dB', 'accuracy': ' %', 'mean_average_precision': ' %', 'mean_iou': ' %',
    'training_seconds': ' s'}
CONDITIONS = {  # and of what stands beside one of them
    'sigma': ' of 255', 'corruption': '', 'crop': ' pixels', 'seed': '', 'noisy_ssim': '', 'denoised_ssim': ''}
PER_CLASS = {'average_precision': 'image', 'iou': 'pixel'}  # in percent; of a class that no image or pixel has, none


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
