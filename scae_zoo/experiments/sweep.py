"""A sweep: hyper-parameters compared on labelled training images that are held out, so that no test image chooses."""

from collections.abc import Sequence

from ..checkpoints.folder import Checkpoint
from ..data.image_set import ImageSet
from ..factory import create_encoder
from ..methods.finetuning import FineTuning
from ..methods.pretraining import Pretraining
from ..methods.probing import pooled_quality
from .comparison import Arm
from .experiment import Experiment, headline

HELD_SEED = 1000


def sweep(
        e: Experiment,
        architecture: str,
        arms: Sequence[Arm],
        finetuning: FineTuning,
        unlabelled: ImageSet,
        train: ImageSet,
        labels: int,
        held: int,
        crop: int,
) -> None:
    """The table: for each arm the accuracy after fine-tuning; and of a linear classifier and of 20 nearest neighbours
    on the last layer's pooled features, unless it has a fine-tuning of its own, with which these have nothing to do.

    Args:
        e: The experiment.
        architecture: Of the networks.
        arms: The rows.
        finetuning: Hyper-parameters, but for the seed, of the arms that have none of their own.
        unlabelled: What is pre-trained on.
        train: Where the labelled images and those held out are drawn from.
        labels: Labelled images of each class.
        held: Images of each class to measure on.
        crop: Side in pixels of the crops whose features are looked at.
    """
    some, others = train.per_class(held, HELD_SEED)
    validation = train.subset(some, f'{held} per class, seed {HELD_SEED}')
    rest = train.subset(others, f'without {held} per class, seed {HELD_SEED}')
    made: dict[str, Checkpoint] = {}
    for arm in arms:
        source = arm.pretraining
        if isinstance(source, Pretraining):
            source = e.pretrain(f'{architecture}.{arm.tag}', unlabelled, source)
        if source is not None:
            made[source.name] = source
        for seed in e.seeds:
            labelled = rest.labelled(labels, seed)
            if source is not None and arm.finetuning is None:
                encoder = create_encoder(architecture, source).to(e.world.device)
                linear, knn = pooled_quality(encoder, labelled, validation, crop)[-1]
                e.add(f'{arm.row}, linear', seed, linear)
                e.add(f'{arm.row}, k-NN', seed, knn)
            settings = (arm.finetuning or finetuning).replace(seed=seed)
            tuned = e.finetune(f'{architecture}.ft_sweep', source, labelled, settings, validation, arm.run_of(seed))
            e.add(f'{arm.row}, fine-tuned', seed, headline(tuned))
    e.report({})
    e.show(made.values())
