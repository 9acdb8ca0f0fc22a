"""Each shipped checkpoint still gives the outputs that it gave when it was made."""

import json
from pathlib import Path

import pytest
import timm
import torch

from scae_zoo import create_autoencoder, create_segmenter
from scae_zoo.checkpoints import finding

GOLDEN = json.loads((Path(__file__).parent / 'golden.json').read_text())


def pattern(height: int, width: int) -> torch.Tensor:
    """A 1 x 3 x H x W image that needs no random numbers and no file."""
    y, x = torch.meshgrid(torch.arange(height) / 5, torch.arange(width) / 7, indexing='ij')
    return torch.stack([torch.sin(x + y), torch.cos(x - 2 * y), torch.sin(3 * x)])[None]


def outputs(name: str) -> dict[str, list[float]]:
    """A few numbers of the features and, for an auto-encoder, of the reconstruction, at an odd size; of a segmenter's
    logits."""
    x = pattern(29, 34)
    with torch.inference_mode():
        if finding.find(name).kind == 'segmenter':
            logits = create_segmenter(name, pretrained=True).eval()(x)
            return {'logits': logits[0, ::5, ::9, ::11].flatten().tolist()}
        y = timm.create_model(name, pretrained=True).eval()(x)[0]
        found = {'encoder': y[::max(1, len(y) // 12)]}
        if finding.find(name).kind == 'autoencoder':
            found['reconstruction'] = create_autoencoder(name, pretrained=True).eval()(x)[0, :, ::7, ::8].flatten()
    return {key: value.tolist() for key, value in found.items()}


def test_every_checkpoint_has_golden_outputs() -> None:
    assert set(GOLDEN) == set(finding.names())


@pytest.mark.parametrize('name', GOLDEN)
def test_outputs(name: str) -> None:
    found = outputs(name)
    assert found.keys() == GOLDEN[name].keys()
    for key, values in found.items():
        assert values == pytest.approx(GOLDEN[name][key], rel=1e-3, abs=1e-4)


if __name__ == '__main__':  # python -m tests.models.test_golden: write the outputs of what is shipped now
    now = {name: outputs(name) for name in finding.names()}
    (Path(__file__).parent / 'golden.json').write_text(json.dumps(now, indent=1) + '\n')
