"""Draws docs/pictures.png, the picture of the README: a photograph with a quarter masked, and filled in; and the same
photograph, and the person in it, pixel by pixel.

    python docs/pictures.py

The photograph is matplotlib's; the networks are scae_vgg16's, from a checkout or `pip install 'scae-zoo[vgg16]'`.
"""

from pathlib import Path

import numpy as np
import torch
from matplotlib.cbook import get_sample_data
from PIL import Image, ImageDraw, ImageFont

from scae_zoo import create_autoencoder, create_segmenter, parse_corruption, reconstruct
from scae_zoo.pixels import denormalize, normalize

HEIGHT, GAP, TEXT = 200, 8, 22
COLOURS = {'person': (230, 80, 70)}


def pixels(x: torch.Tensor, mean: tuple[float, ...], std: tuple[float, ...]) -> Image.Image:
    return Image.fromarray(denormalize(x, mean, std)[0].byte().permute(1, 2, 0).numpy())


def main() -> None:
    photograph = Image.open(get_sample_data('grace_hopper.jpg', asfileobj=False)).convert('RGB')
    width = round(HEIGHT * photograph.width / photograph.height)
    photograph = photograph.resize((width, HEIGHT), Image.Resampling.LANCZOS)
    model = create_autoencoder('scae_vgg16', pretrained=True).eval()
    cfg = model.pretrained_cfg
    mean, std = cfg['mean'], cfg['std']
    x = normalize(torch.from_numpy(np.asarray(photograph).copy()).permute(2, 0, 1)[None], mean, std)
    masked = parse_corruption('block:0.25:16', mean, std)(x, torch.Generator().manual_seed(0))
    filled = reconstruct(model, masked)
    segmenter = create_segmenter('scae_vgg16', pretrained=True).eval()
    names = segmenter.pretrained_cfg['label_names']
    mask = reconstruct(segmenter, x).argmax(1)[0]
    overlay = np.asarray(photograph).astype(float)
    for name, colour in COLOURS.items():
        where = (mask == names.index(name)).numpy()
        overlay[where] = 0.45 * overlay[where] + 0.55 * np.array(colour)
    panels = (('corrupted', pixels(masked, mean, std)), ('reconstructed', pixels(filled, mean, std)),
              ('image', photograph), ('segmentation: person', Image.fromarray(overlay.astype(np.uint8))))
    sheet = Image.new('RGB', (len(panels) * (width + GAP) - GAP, HEIGHT + TEXT), 'white')
    draw = ImageDraw.Draw(sheet)
    for i, (title, panel) in enumerate(panels):
        left = i * (width + GAP)
        sheet.paste(panel, (left, TEXT))
        draw.text((left + width / 2, TEXT / 2), title, 'black', ImageFont.load_default(14), anchor='mm')
    sheet.save(Path(__file__).with_name('pictures.png'), optimize=True)


if __name__ == '__main__':
    main()
