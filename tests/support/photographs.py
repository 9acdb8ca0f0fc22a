"""Photographs of several sizes, and small networks with known classes, for the commands that answer."""

from pathlib import Path

from scae_zoo import create_segmenter
from scae_zoo.checkpoints.writing import write
from scae_zoo.experiments import sample_images
from scae_zoo.factory import create_encoder

from .checkpoint_folders import NOTES
from .networks import randomize

CLASSES = ('sky', 'land', 'sea')


def write_photographs(folder: Path, number: int = 6) -> Path:
    """``number`` of them, of three sizes, and the last one broken."""
    for i, (_, piece) in enumerate(sample_images.cuttings(number, 48, 0)):
        path = folder / f'{"ab"[i % 2]}' / f'{i}.png'
        path.parent.mkdir(parents=True, exist_ok=True)
        piece.resize(((48, 40, 33)[i % 3], 36)).save(path)
    (folder / 'broken.jpg').write_bytes(b'\xff\xd8\xff\xe0 and no more')
    (folder / 'notes.txt').write_text('nothing to see')
    return folder


def write_segmenter(folder: Path) -> Path:
    """A segmenter of three classes, with weights as after training."""
    model = randomize(create_segmenter('scae_springenberg9', len(CLASSES), 'random'))
    model.encoder.pretrained_cfg = {**model.encoder.pretrained_cfg, 'label_names': list(CLASSES), 'num_classes': 0}
    path = folder / 'scae_springenberg9.seg'
    write(path, model.encoder, model.decoder, **NOTES)
    return path


def write_classifier(folder: Path, multi_label: bool) -> Path:
    """A classifier of three classes, of one label an image or of many."""
    model = create_encoder('scae_springenberg9', None, num_classes=len(CLASSES))
    randomize(model)
    model.pretrained_cfg = {**model.pretrained_cfg, 'label_names': list(CLASSES), 'num_classes': len(CLASSES)}
    path = folder / f'scae_springenberg9.{"many" if multi_label else "one"}'
    write(path, model, **NOTES, multi_label=multi_label)
    return path
