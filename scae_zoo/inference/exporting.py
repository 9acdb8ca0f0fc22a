"""A network as a file that runs without this package: ONNX, or PyTorch's own ``.pt2``; measured before it is kept."""

import io
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch

from ..checkpoints.folder import Checkpoint
from ..corruption import per_channel
from ..extras import require_installed
from ..factory import create_autoencoder, create_encoder, create_segmenter
from ..places import written_whole
from .batching import MIN_SIZE

SUFFIXES = '.onnx', '.pt2'
INPUT = 'image'
OUTPUTS = {'classifier': 'logits', 'autoencoder': 'reconstruction', 'segmenter': 'logits'}
CHECKED = (1, 61, 90), (2, 64, 49), (1, MIN_SIZE, MIN_SIZE)  # images, height and width that a file is compared at
TOLERANCE, HALF_TOLERANCE = 1e-4, 0.05  # of the largest value: sums in another order; and fp16, which has three digits

Run = Callable[[torch.Tensor], torch.Tensor]


class Exported(NamedTuple):
    """What was written.

    Args:
        output: The output's name; the input's is ``INPUT``.
        shape: The output's, such as ``N x 10``.
        channels: Of the image.
        opset: Of an ONNX file.
        difference: The largest one from PyTorch in float32, relative to the largest value, over all ``CHECKED``.
        size: Bytes of the file.
    """

    output: str
    shape: str
    channels: int
    opset: int | None
    difference: float
    size: int


class Graph(torch.nn.Module):
    """A network with what is exported around it: float32 in and out, whatever it computes in.

    Args:
        network: The network.
        pixels: Whether images (and reconstructions) are pixels of 0 to 1, not normalised units.
        restores: Whether the output is an image.
    """

    mean: torch.Tensor
    std: torch.Tensor

    def __init__(self, network: torch.nn.Module, pixels: bool, restores: bool) -> None:
        super().__init__()
        self.network = network.eval()
        self.pixels, self.restores = pixels, restores
        self.dtype = torch.float32
        cfg: Any = network.pretrained_cfg
        for name in ('mean', 'std'):
            self.register_buffer(name, per_channel(cfg[name], torch.empty(0)))

    def computing_in_half(self) -> 'Graph':
        self.network.half()
        self.dtype = torch.float16
        return self

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        x = (image - self.mean) / self.std if self.pixels else image
        y = self.network(x.to(self.dtype)).float()
        return (y * self.std + self.mean).clamp(0, 1) if self.pixels and self.restores else y


def export(checkpoint: Checkpoint, path: Path, features: bool = False, half: bool = False, pixels: bool = False,
           ) -> Exported:
    """Write a checkpoint's network for any number of images of any size from 17 x 17 up, by the suffix of the file:
    whole, and only if it computes what the network does.

    Args:
        checkpoint: Of any kind.
        path: The file, ``.onnx`` or ``.pt2``.
        features: Its encoder alone, whose pooled features are the output.
        half: Weights and computing in fp16.
        pixels: The images are pixels of 0 to 1, and so are reconstructions; else both are in normalised units.

    Raises:
        ValueError: The suffix is another one, an optional package is missing, or the file computes something else.
        CheckpointError: The checkpoint is damaged.
        OSError: The disk is full or the folder cannot be written.
    """
    if path.suffix not in SUFFIXES:
        raise ValueError(f'-o {path}: give a file that ends in {" or ".join(SUFFIXES)}')
    is_onnx = path.suffix == '.onnx'
    if is_onnx:
        require_installed('onnx', 'onnxscript', 'onnxruntime', extra='export')
    output = 'features' if features else OUTPUTS[checkpoint.kind]
    network = _network(checkpoint, features)
    graph = Graph(network, pixels, output == 'reconstruction')
    channels = checkpoint.in_chans
    images = _images(graph, channels)
    with torch.inference_mode():
        expected = [graph(x) for x in images]
    if half:
        graph.computing_in_half()
    said = _said(checkpoint, network.pretrained_cfg, pixels)
    data, run, opset = _onnx(graph, channels, output, said) if is_onnx else _pt2(graph, channels, said)
    with torch.inference_mode():
        differences = [_difference(run(x), y) for x, y in zip(images, expected, strict=True)]
    difference = max(differences, key=lambda each: math.inf if math.isnan(each) else each)
    if not difference <= (HALF_TOLERANCE if half else TOLERANCE):
        raise ValueError(f'{path}: nothing was written, as it would differ from PyTorch by {difference:.1e} of the '
                         f'largest value{"; leave out --half" * half}')
    with written_whole(path) as file:
        file.write(data)
    shape = ['N', str(expected[0].shape[1]), 'H', 'W'][:expected[0].ndim]
    return Exported(output, ' x '.join(shape), channels, opset, difference, len(data))


def _network(checkpoint: Checkpoint, features: bool) -> Any:
    if features or checkpoint.kind == 'classifier':
        return create_encoder(checkpoint.architecture, checkpoint, **({'num_classes': 0} if features else {}))
    weights = str(checkpoint.folder.absolute())
    if checkpoint.kind == 'autoencoder':
        return create_autoencoder(checkpoint.architecture, weights=weights, in_chans=checkpoint.in_chans)
    return create_segmenter(checkpoint.architecture, pretrained=True, weights=weights, in_chans=checkpoint.in_chans)


def _images(graph: Graph, channels: int) -> list[torch.Tensor]:
    random = torch.Generator().manual_seed(0)
    images = [torch.rand(n, channels, height, width, generator=random) for n, height, width in CHECKED]
    return images if graph.pixels else [(x - graph.mean) / graph.std for x in images]


def _difference(found: torch.Tensor, expected: torch.Tensor) -> float:
    if found.shape != expected.shape:
        return float('inf')
    return ((found - expected).abs().max() / expected.abs().max()).item()


def _said(checkpoint: Checkpoint, cfg: dict[str, Any], pixels: bool) -> dict[str, str]:
    """What a file says of itself: texts, and JSON where they are not."""
    return {
        'checkpoint': checkpoint.name, 'kind': checkpoint.kind, 'classes': json.dumps(cfg.get('label_names') or []),
        'input': 'pixels of 0 to 1' if pixels else '(pixels of 0 to 1 - mean) / std',
        'mean': json.dumps(cfg['mean']), 'std': json.dumps(cfg['std']), 'crop': json.dumps(cfg['input_size'][-1])}


def _program(graph: Graph, channels: int) -> torch.export.ExportedProgram:
    sides = {axis: torch.export.Dim(name, min=MIN_SIZE) for axis, name in ((2, 'height'), (3, 'width'))}
    return torch.export.export(graph, (torch.zeros(2, channels, 48, 41),), dynamic_shapes=(
        {0: torch.export.Dim('batch', min=1), **sides},))


def _onnx(graph: Graph, channels: int, output: str, said: dict[str, str]) -> tuple[bytes, Run, int]:
    import onnx
    import onnxruntime

    with _any_size():
        exported = torch.onnx.export(
            _program(graph, channels), input_names=[INPUT], output_names=[output], dynamo=True, verbose=False)
    assert exported is not None
    model = exported.model_proto
    onnx.helper.set_model_props(model, said)
    data = model.SerializeToString()
    session = onnxruntime.InferenceSession(data, providers=['CPUExecutionProvider'])
    opset = next(each.version for each in model.opset_import if not each.domain)
    return data, lambda x: torch.from_numpy(session.run([output], {INPUT: x.numpy()})[0]), opset


def _pt2(graph: Graph, channels: int, said: dict[str, str]) -> tuple[bytes, Run, None]:
    file = io.BytesIO()
    with _any_size():
        torch.export.save(_program(graph, channels), file, extra_files={'scae_zoo.json': json.dumps(said)})
    file.seek(0)
    return file.getvalue(), torch.export.load(file).module(), None


def _any_size() -> Any:
    """PyTorch otherwise specialises on feature maps of size 1."""
    return torch.fx.experimental._config.patch(backed_size_oblivious=True)  # type: ignore[attr-defined]
