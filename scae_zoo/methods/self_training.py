"""Self-training: a classifier names the unlabelled images that it is sure of, for another one to learn from."""

from dataclasses import replace

import torch

from ..checkpoints.folder import ENCODER, Checkpoint
from ..data.image_set import ImageSet
from ..evaluation.classification import logits_and_flip_average
from ..factory import create_encoder
from ..training.precision import fast_forward


def identity(teacher: Checkpoint, labelled: ImageSet, unlabelled: ImageSet, share: float) -> str:
    """That of what ``pseudo_labelled`` gives."""
    return (f'{labelled.identity} and {share:g} of {unlabelled.identity} '
            f'by {teacher.name} {teacher.sha256(ENCODER)[:16]}')


def pseudo_labelled(
        teacher: Checkpoint,
        labelled: ImageSet,
        unlabelled: ImageSet,
        share: float,
        device: torch.device,
) -> ImageSet:
    """The labelled images, and of each class that the teacher finds among the others those that it is surest of, with
    its labels (Lee 2013; the same share of each class, so that the easy ones do not take over).

    Args:
        teacher: A classifier of the labelled images' classes; its answers for an image and its mirror are averaged.
        labelled: Images with one label each.
        unlabelled: Images of the same size; their labels, where they have any, are not looked at.
        share: Of the images that the teacher puts into one class, the share that is taken, 0-1.
        device: Where the teacher runs.

    Raises:
        ValueError: The share is none, or the classes or sizes differ.
    """
    if not 0 < share <= 1:
        raise ValueError(f'share must be more than 0 and at most 1, not {share}')
    encoder = create_encoder(teacher.architecture, teacher).to(device)
    cfg = encoder.pretrained_cfg
    if tuple(cfg.get('label_names') or ()) != labelled.classes or labelled.targets is None or labelled.multi_label:
        raise ValueError(f'{teacher.name} does not classify the {len(labelled.classes)} classes of the labelled images')
    if labelled.images.shape[1:] != unlabelled.images.shape[1:]:
        raise ValueError('the labelled and the unlabelled images differ in size')
    with fast_forward(device):
        _, averaged = logits_and_flip_average(
            encoder, unlabelled.images, cfg['mean'], cfg['std'], cfg['input_size'][-1])
    confidence, named = averaged.softmax(1).max(1)
    taken = []
    for index in range(len(labelled.classes)):
        members = (named == index).nonzero().flatten()
        order = confidence[members].argsort(descending=True, stable=True)
        taken.append(members[order[:round(share * len(members))]])
    chosen = torch.cat(taken).sort().values
    return replace(
        labelled,
        images=torch.cat([labelled.images, unlabelled.images[chosen]]),
        targets=torch.cat([labelled.targets, named[chosen]]),
        identity=identity(teacher, labelled, unlabelled, share),
        origins=labelled.origins and unlabelled.origins and labelled.origins.joined(unlabelled.origins.chosen(chosen)),
        description=f'{len(labelled):,} labelled images and {len(chosen):,} that an earlier classifier named')
