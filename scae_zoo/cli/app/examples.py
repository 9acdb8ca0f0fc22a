"""Photographs and drawings to try without one's own: made of what is installed, nothing is downloaded."""

from pathlib import Path

from PIL import Image, ImageDraw

from ...images import open_rgb

SIDE = 320


def write_examples(folder: Path) -> list[tuple[Path, str]]:
    """Write them as PNGs; their files, and what they show."""
    from matplotlib.cbook import get_sample_data  # slow to import, and complains where there is no home folder

    portrait = Image.fromarray(open_rgb(get_sample_data('grace_hopper.jpg', asfileobj=False)))
    found = []
    for name, words, picture in (('grace_hopper', 'portrait', portrait), ('ship', 'ship', _ship()),
                                 ('chart', 'chart', _chart())):
        picture.save(path := folder / f'{name}.png')
        found.append((path, words))
    return found


def _ship() -> Image.Image:
    """A sailing ship on the sea."""
    picture = Image.new('RGB', (SIDE, SIDE))
    draw = ImageDraw.Draw(picture)
    for y in range(SIDE):
        share = y / SIDE
        draw.line((0, y, SIDE, y), fill=(int(120 + 90 * share), int(170 + 50 * share), 225))
    draw.rectangle((0, 230, SIDE, SIDE), fill=(35, 85, 125))
    for y in range(240, SIDE, 16):
        for x in range(-40 + y % 32, SIDE, 44):
            draw.arc((x, y, x + 30, y + 12), 200, 340, fill=(95, 145, 180), width=2)
    draw.line((160, 60, 160, 215), fill=(80, 55, 35), width=6)
    draw.polygon(((167, 70), (167, 200), (250, 200)), fill=(245, 240, 225))
    draw.polygon(((153, 90), (153, 200), (85, 200)), fill=(225, 215, 195))
    draw.polygon(((70, 215), (262, 215), (232, 255), (102, 255)), fill=(125, 45, 35))
    return picture


def _chart() -> Image.Image:
    """Stripes, discs and a ramp: what noise and holes take away first."""
    picture = Image.new('RGB', (SIDE, SIDE), (235, 235, 230))
    draw = ImageDraw.Draw(picture)
    for row, width in enumerate((2, 4, 8, 16)):
        for x in range(16, SIDE - 16, 2 * width):
            draw.rectangle((x, 16 + 32 * row, min(x + width, SIDE - 16) - 1, 40 + 32 * row), fill=(30, 30, 35))
    for i, colour in enumerate(((200, 60, 50), (230, 170, 40), (60, 150, 80), (50, 100, 190))):
        left = 20 + 74 * i
        draw.ellipse((left, 156, left + 58, 214), fill=colour)
    for x in range(16, SIDE - 16):
        grey = round(255 * (x - 16) / (SIDE - 33))
        draw.line((x, 232, x, 300), fill=(grey, grey, grey))
    return picture
