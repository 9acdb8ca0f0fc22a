"""The table of an experiment: networks that differ in how they began, trained with the same labels, side by side."""

import dataclasses
import functools
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import yaml

from ..checkpoints.folder import Checkpoint, open_folder
from ..data.image_set import ImageSet
from ..methods.finetuning import FineTuning
from ..methods.pretraining import Pretraining
from ..methods.self_training import identity as pseudo_identity
from ..methods.self_training import pseudo_labelled
from .experiment import Experiment, headline
from .plots import Curve, plot_curves


class Arm(NamedTuple):
    """One row of a table.

    Args:
        row: What it is called.
        pretraining: How its networks are pre-trained, or the auto-encoder that they start from; None: neither.
        tag: The tag of the auto-encoder that is made.
        paper: The paper's figure.
        finetuning: How they are fine-tuned, where that is not as for the other rows.
        teacher: The arm whose classifier names the images that this one learns from besides; None: only labels.
    """

    row: str
    pretraining: Pretraining | Checkpoint | None
    tag: str = ''
    paper: str = ''
    finetuning: FineTuning | None = None
    teacher: 'Arm | None' = None

    @property
    def run(self) -> str:
        """The row as ``--rows`` knows it."""
        return re.sub('[^a-z0-9]+', '-', self.row.lower()).strip('-')

    def run_of(self, seed: int) -> str:
        """The sub-folder of the run with that seed."""
        return f'{self.run}-seed{seed}'


class SelfTraining(NamedTuple):
    """What the arms with a teacher learn from besides.

    Args:
        unlabelled: The images for a seed that have no labels.
        share: Of the images that the teacher puts into one class, the share that is taken, the surest.
    """

    unlabelled: Callable[[int], ImageSet]
    share: float


def chosen(arms: Sequence[Arm], e: Experiment) -> list[Arm]:
    """Those of ``--rows``, or all. The recipes ask before they load anything, so that a wrong row costs no time.

    Raises:
        ValueError: There is no such row.
    """
    wanted = e.args.rows or [arm.run for arm in arms]
    unknown = sorted(set(wanted) - {arm.run for arm in arms})
    if unknown:
        raise ValueError(f'--rows {unknown[0]}: there are {", ".join(arm.run for arm in arms)}')
    return [arm for arm in arms if arm.run in wanted]


def compare(
        e: Experiment,
        name: str,
        arms: Sequence[Arm],
        finetuning: FineTuning,
        unlabelled: ImageSet,
        labelled: Callable[[int], ImageSet],
        test: ImageSet,
        *,
        unlabelled_data: str | None = None,
        self_training: SelfTraining | None = None,
        curves: bool = False,
) -> list[Checkpoint]:
    """A table: each arm is pre-trained once and fine-tuned with each seed's labels. It has the rows and seeds of
    this start, and those that other starts of the recipe made with the same settings in the same folder.

    Args:
        e: The experiment.
        name: ``<architecture>.<tag>`` of the fine-tuned network.
        arms: The rows; the last one is the method, whose checkpoint of the first seed may ship.
        finetuning: Hyper-parameters, but for the seed, of the arms that have none of their own.
        unlabelled: What all arms are pre-trained on.
        labelled: The labelled images for a seed.
        test: What the figures are measured on.
        unlabelled_data: What they are called, where they are not the recipe's own.
        self_training: For arms that have a teacher.
        curves: Measure on ``test`` during fine-tuning as well, which decides nothing, and draw ``curves.png``.

    Returns:
        The auto-encoders that were made, and last the method's classifier by the first seed, if its row was chosen.
    """
    architecture = name.partition('.')[0]
    autoencoders: dict[str, Checkpoint] = {}
    labelled = functools.cache(labelled)

    def settings(arm: Arm, seed: int) -> FineTuning:
        return (arm.finetuning or finetuning).replace(seed=seed)

    def train(arm: Arm, seed: int) -> Checkpoint:
        source = arm.pretraining
        if isinstance(source, Pretraining):
            source = e.pretrain(f'{architecture}.{arm.tag}', unlabelled, source, test, data=unlabelled_data)
            autoencoders[source.name] = source
        images = labelled(seed)
        if arm.teacher is not None:
            assert self_training is not None
            teacher = train(arm.teacher, seed)
            others = self_training.unlabelled(seed)
            images = pseudo_labelled(teacher, images, others, self_training.share, e.world.device)
        return e.finetune(name, source, images, settings(arm, seed), test, arm.run_of(seed), test if curves else None)

    def is_ours(arm: Arm, seed: int, checkpoint: Checkpoint) -> bool:
        """Whether that is what this start would make."""
        data = labelled(seed).identity
        if arm.teacher is not None:
            assert self_training is not None
            teacher = e.out / arm.teacher.run_of(seed) / name
            if not teacher.is_dir() or not is_ours(arm.teacher, seed, open_folder(teacher)):
                return False
            data = pseudo_identity(
                open_folder(teacher), labelled(seed), self_training.unlabelled(seed), self_training.share)
        return has_recorded(checkpoint, {
            **dataclasses.asdict(settings(arm, seed)), 'data': data, 'test': test.identity,
            'from': _source_of(e, arm, architecture, unlabelled)})

    # the method first, then the others in the table's order: the checkpoint that people wait for is there early
    order = sorted(chosen(arms, e), key=lambda arm: arm is not arms[-1])
    made = [(arm, train(arm, seed)) for arm in order for seed in e.seeds]
    drawn: dict[str, list[Curve]] = {}
    for arm in arms:
        for seed, checkpoint in finished(e, arm, name):
            if is_ours(arm, seed, checkpoint):
                e.add(arm.row, seed, headline(checkpoint))
                if curves:
                    drawn.setdefault(arm.row, []).append(_curve(checkpoint))
    e.report({arm.row: arm.paper for arm in arms})
    if curves and e.world.is_main:
        plot_curves(drawn, 'passes over the labelled images', 'test accuracy (%)', e.out / 'curves.png')
    methods = [checkpoint for arm, checkpoint in made if arm is arms[-1]]
    return [*autoencoders.values(), *methods[:1]]


def finished(e: Experiment, arm: Arm, name: str) -> Iterator[tuple[int, Checkpoint]]:
    """The seeds that a row has been trained with, and their checkpoints."""
    for folder in sorted(e.out.glob(f'{arm.run}-seed*/{name}')):
        seed = folder.parent.name.rpartition('seed')[2]
        if seed.isdecimal():  # not a copy that someone put aside
            yield int(seed), open_folder(folder)


def _source_of(e: Experiment, arm: Arm, architecture: str, unlabelled: ImageSet) -> dict[str, Any] | None:
    """Name and weights of the auto-encoder that an arm's networks start from; None where there is none that was
    pre-trained so, on these images."""
    source = arm.pretraining
    if isinstance(source, Pretraining):
        source = pretrained(e, f'{architecture}.{arm.tag}', source, unlabelled)
    return None if source is None else source.identity


def pretrained(e: Experiment, name: str, settings: Pretraining, unlabelled: ImageSet) -> Checkpoint | None:
    """The auto-encoder of that name that this or an earlier start pre-trained so, on these images."""
    if not (e.out / name / name).is_dir():
        return None
    found = open_folder(e.out / name / name)
    return found if has_recorded(found, {**dataclasses.asdict(settings), 'data': unlabelled.identity}) else None


def has_recorded(checkpoint: Checkpoint, expected: Mapping[str, Any]) -> bool:
    """Whether its ``recipe.yaml`` has these settings, data and start."""
    recorded = yaml.safe_load((checkpoint.folder / 'recipe.yaml').read_text())
    return all(recorded.get(key) == value for key, value in expected.items())


def _curve(checkpoint: Checkpoint) -> Curve:
    """The passes after which the network of a run was measured, and what was found, all in the same way: before the
    statistics of the batch norms are estimated anew, as those of the table's network are."""
    log = [json.loads(line) for line in (checkpoint.folder.parent / 'log.jsonl').read_text().splitlines()]
    return [(row['epoch'], row['validation']) for row in log if 'validation' in row]
