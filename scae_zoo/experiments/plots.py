"""Pictures and tables of what was measured."""

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import mean

import numpy as np
import torch
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from ..methods.pictures import save_figure
from ..methods.probing import LayerQuality
from ..models.scae import ScaeEncoder
from ..pixels import normalize


def plot_probes(results: Mapping[str, Sequence[LayerQuality]], path: Path) -> None:
    """Figure 2 of the paper: accuracy and reconstruction of each layer of several networks, as a PNG.

    Args:
        results: For each network's name its layers.
        path: The picture.
    """
    figure = Figure(figsize=(14, 4.2), layout='constrained')
    panels = (('linear', 'linear probe, accuracy (%)'), ('pooled', 'linear probe of pooled features, accuracy (%)'),
              ('knn', '20 nearest neighbours, accuracy (%)'), ('psnr', 'reconstruction probe, PSNR (dB)'))
    for axes, (field, label) in zip(figure.subplots(1, len(panels)), panels, strict=True):
        for name, layers in results.items():
            axes.plot([q.layer for q in layers], [getattr(q, field) for q in layers], marker='o', label=name)
        axes.set_xlabel('layer')
        axes.set_ylabel(label)
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.grid(alpha=0.3)
    handles, labels = figure.axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc='outside upper center', ncols=min(3, len(labels)))
    save_figure(figure, path)


Curve = list[tuple[float, float]]


def plot_curves(results: Mapping[str, Sequence[Curve]], across: str, up: str, path: Path) -> None:
    """Curves of several seeds a name, each thin and their mean thick, as a PNG.

    Args:
        results: For each name its curves, points of (x, y).
        across: What x is.
        up: What y is.
        path: The picture.
    """
    figure = Figure(figsize=(7, 4.5), layout='constrained')
    axes = figure.subplots()
    for i, (name, curves) in enumerate(results.items()):
        values = defaultdict(list)
        for curve in curves:
            for x, y in curve:
                values[x].append(y)
            if len(curves) > 1:
                axes.plot(*zip(*curve, strict=True), color=f'C{i}', linewidth=0.5, alpha=0.6)
        axes.plot(sorted(values), [mean(values[x]) for x in sorted(values)], color=f'C{i}', marker='o', markersize=3,
                  label=name)
    axes.set_xlabel(across)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_ylabel(up)
    axes.grid(alpha=0.3)
    axes.legend()
    save_figure(figure, path)


def report_probes(results: Mapping[str, Sequence[LayerQuality]], out: Path) -> None:
    """Write ``probes.png``, ``probes.md`` and ``probes.json``, and print the table.

    Raises:
        ValueError: They cannot be written.
    """
    lines = ['| network | layer | channels | 1/size | linear probe (%) | linear probe, pooled (%) '
             '| k-NN (%) | reconstruction (dB) |',
             '| --- | --- | --- | --- | --- | --- | --- | --- |']
    for name, layers in results.items():
        for layer, channels, reduction, *figures in layers:
            shown = ' | '.join(f'{figure:.2f}' for figure in figures)
            lines.append(f'| {name} | {layer} | {channels} | {reduction} | {shown} |')
    text = json.dumps({name: [q._asdict() for q in layers] for name, layers in results.items()}, indent=2)
    try:
        out.mkdir(parents=True, exist_ok=True)
        (out / 'probes.md').write_text('\n'.join(lines) + '\n')
        (out / 'probes.json').write_text(text + '\n')
    except OSError as error:
        raise ValueError(f'{error.filename or out}: cannot be written ({error.strerror})') from None
    plot_probes(results, out / 'probes.png')
    print('\n'.join(lines))
    print(f'picture     {(out / "probes.png").absolute()}')


@torch.inference_mode()
def draw_feature_maps(
        encoders: Mapping[str, ScaeEncoder],
        images: Sequence[torch.Tensor],
        layer: int,
        maps: int,
        path: Path,
        title: str = '',
) -> None:
    """Figure 4 of the paper: images, and beside each the strongest feature maps that several networks have of it.

    Args:
        encoders: For each network's name its encoder, on the device to use.
        images: 3 x H x W uint8 each, of any size.
        layer: Which convolution's output is drawn, activated; counted from 1.
        maps: How many of each network's maps: those whose mean over all images is largest, the same for each image.
        path: The picture, a PNG.
        title: Written above all.
    """
    columns: list[tuple[str, list[np.ndarray]]] = [('image', [image.permute(1, 2, 0).numpy() for image in images])]
    for name, encoder in encoders.items():
        # each image twice, as all maps of all images would take gigabytes
        strength = torch.stack([_feature_maps(encoder, image, layer).mean((1, 2)) for image in images]).mean(0)
        strongest = strength.topk(maps).indices
        drawn = [_feature_maps(encoder, image, layer)[strongest].cpu().numpy() for image in images]
        for i, channel in enumerate(strongest.tolist()):
            columns.append((f'{name} {channel}', [each[i] for each in drawn]))
    figure = Figure(figsize=(1.6 * len(columns), 1.7 * len(images)), layout='constrained')
    if title:
        figure.suptitle(title, fontsize=10)
    grid = figure.subplots(len(images), len(columns), squeeze=False)
    for i, (heading, pictures) in enumerate(columns):
        grid[0][i].set_title(heading, fontsize=9)
        for axes, picture in zip(grid[:, i], pictures, strict=True):
            axes.imshow(picture, cmap='magma')
            axes.axis('off')
    save_figure(figure, path)


def _feature_maps(encoder: ScaeEncoder, image: torch.Tensor, layer: int) -> torch.Tensor:
    """What a layer makes of one image, C x H x W."""
    cfg, device = encoder.pretrained_cfg, next(encoder.parameters()).device
    return encoder.eval().blocks[:layer](normalize(image[None].to(device), cfg['mean'], cfg['std']))[0]
