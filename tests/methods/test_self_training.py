"""Which unlabelled images a classifier names for another one to learn from."""

import pytest
import timm
import torch

from scae_zoo.checkpoints.folder import Checkpoint, open_folder
from scae_zoo.checkpoints.writing import write
from scae_zoo.data.image_set import ImageSet
from scae_zoo.inference.batching import central_crop
from scae_zoo.methods.self_training import pseudo_labelled
from scae_zoo.pixels import normalize

from ..support.checkpoint_folders import NOTES

CPU = torch.device('cpu')
CLASSES = ('a', 'b', 'c')
NAME = 'scae_springenberg9.teacher'


def images(n: int, seed: int) -> torch.Tensor:
    """Colours that differ from image to image, with noise."""
    generator = torch.Generator().manual_seed(seed)
    colour = torch.randint(0, 200, (n, 3, 1, 1), generator=generator)
    return (colour + torch.randint(0, 56, (n, 3, 32, 32), generator=generator)).byte()


@pytest.fixture(scope='module')
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    torch.manual_seed(0)
    encoder = timm.create_model('scae_springenberg9', num_classes=3, pretrained_cfg='untrained')
    torch.nn.init.normal_(encoder.head.fc.weight)
    cfg = encoder.pretrained_cfg
    encoder.pretrained_cfg = {**cfg, 'label_names': list(CLASSES), 'num_classes': 3, 'tag': 'teacher'}
    for block in encoder.blocks:
        block.bn.momentum = 1.
    with torch.no_grad():  # gives the norms statistics, and the images different answers
        encoder.train()(normalize(central_crop(images(32, 9), 29), cfg['mean'], cfg['std']))
    folder = tmp_path_factory.mktemp('teacher') / NAME
    write(folder, encoder, None, **NOTES)
    return open_folder(folder)


def labelled() -> ImageSet:
    return ImageSet(images(3, 0), torch.arange(3), CLASSES, 'labelled')


@torch.inference_mode()
def answers(teacher: Checkpoint, x: torch.Tensor) -> torch.Tensor:
    """The teacher's shares of the classes, by timm alone."""
    model = timm.create_model('scae_springenberg9', checkpoint_path=str(teacher.folder / 'model.safetensors'),
                              num_classes=3, pretrained_cfg='untrained').eval()
    cfg = model.pretrained_cfg
    y = normalize(x[..., 1:30, 1:30], cfg['mean'], cfg['std'])
    return ((model(y) + model(y.flip(3))) / 2).softmax(1)


@pytest.mark.usefixtures('_float32')
@pytest.mark.parametrize('share', [0.3, 1.])
def test_takes_the_surest_of_each_class(teacher: Checkpoint, share: float) -> None:
    others = images(60, 1)
    found = pseudo_labelled(teacher, labelled(), ImageSet(others, identity='others'), share, CPU)
    confidence, named = answers(teacher, others).max(1)
    assert len(named.unique()) > 1
    assert found.targets is not None
    torch.testing.assert_close(found.images[:3], labelled().images)
    assert found.targets[:3].tolist() == [0, 1, 2]
    places = [next(i for i, image in enumerate(others) if image.equal(x)) for x in found.images[3:]]
    assert len(set(places)) == len(places)
    assert found.targets[3:].tolist() == named[places].tolist()
    left = [i for i in range(len(others)) if i not in places]
    for k in named.unique().tolist():
        taken = [i for i in places if named[i] == k]
        assert len(taken) == round(share * int((named == k).sum()))
        rest = [confidence[i].item() for i in left if named[i] == k]
        assert not rest or not taken or confidence[taken].min().item() >= max(rest) - 1e-6
    assert found.description == f'3 labelled images and {len(places)} that an earlier classifier named'


def test_does_not_look_at_labels(teacher: Checkpoint) -> None:
    others = images(20, 2)
    known = ImageSet(others, torch.zeros(20, dtype=torch.long), CLASSES, 'others')
    unknown = ImageSet(others, identity='others')
    a, b = (pseudo_labelled(teacher, labelled(), data, 0.5, CPU) for data in (known, unknown))
    assert a.identity == b.identity == (
        f'labelled and 0.5 of others by {NAME} {teacher.sha256("model.safetensors")[:16]}')
    assert a.targets is not None
    assert b.targets is not None
    assert a.targets.equal(b.targets)


def test_refused(teacher: Checkpoint) -> None:
    others = ImageSet(images(4, 3))
    for share in (0., 1.01):
        with pytest.raises(ValueError, match='share must be'):
            pseudo_labelled(teacher, labelled(), others, share, CPU)
    with pytest.raises(ValueError, match='does not classify the 2 classes'):
        pseudo_labelled(teacher, ImageSet(images(2, 0), torch.arange(2), ('a', 'b')), others, 0.5, CPU)
    for targets in (None, torch.ones(3, 3)):
        with pytest.raises(ValueError, match='does not classify the 3 classes'):
            pseudo_labelled(teacher, ImageSet(images(3, 0), targets, CLASSES), others, 0.5, CPU)
    with pytest.raises(ValueError, match='differ in size'):
        pseudo_labelled(teacher, labelled(), ImageSet(others.images[..., 1:]), 0.5, CPU)
