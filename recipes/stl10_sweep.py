"""How the settings of stl10_folds.py can be chosen: on training images held out, for the method and its controls alike.

    python recipes/stl10_sweep.py --budget cpu --data-dir data/imagenette160 --name imagenette96

Each row changes one of that recipe's settings: the weight decay, the learning rate or the passes of fine-tuning, from
either auto-encoder and from random weights; the corruption or the passes of pre-training. Rows fine-tune half as long
as that recipe, but for those that are to show what its passes are worth. With --rows the table has these alone.
The auto-encoders are those of stl10_folds.py, which goes first, so that they are trained once for both recipes:
--autoencoders names that one's --out. Images of a folder that are held out here they have seen, without labels, each
alike: what is chosen is between them, not whether pre-training is worth anything. PSNR on test images chooses nothing.
"""

import argparse
import dataclasses

from stl10_folds import ARCHITECTURE, FINETUNING, LABELS_PER_CLASS, PRETRAINING, SIZE
from stl10_folds import add_options as add_name

from scae_zoo.experiments.comparison import Arm, chosen
from scae_zoo.experiments.experiment import experiment
from scae_zoo.experiments.sweep import sweep
from scae_zoo.methods.finetuning import FineTuning
from scae_zoo.methods.pretraining import Pretraining
from scae_zoo.places import expand_path

CROP = 89
WEIGHT_DECAYS = (0.5, 1.5)
LEARNING_RATES = (0.001, 0.01)  # weights that were pre-trained are larger than random ones
CORRUPTIONS = ('block:0.5:8', 'gaussian:25')
HELD_PER_CLASS = {'cpu': 100, 'gpu': 100, 'smoke': 4}


def add_options(parser: argparse.ArgumentParser) -> None:
    add_name(parser)
    parser.add_argument('--autoencoders', metavar='DIR', type=expand_path, help=(
        'where the auto-encoders are, or are to be: the --out of stl10_folds.py (default: --out)'))


def rows(dataset: str, pretraining: Pretraining, finetuning: FineTuning) -> list[Arm]:
    starts, others = [Arm('no pre-training', None)], []
    for row, kind, shortcuts in (('no shortcut', 'dae_noskip', False), ('shortcuts', 'dae', True)):
        plain, tag = pretraining.replace(shortcuts=shortcuts), f'{kind}_{dataset}'
        starts.append(Arm(row, plain, tag))
        others += [Arm(f'{row}, {corruption}', plain.replace(corruption=corruption), f'{tag}_{i}')
                   for i, corruption in enumerate(CORRUPTIONS)]
        others.append(Arm(f'{row}, pre-trained twice as long', plain.replace(epochs=2 * plain.epochs), f'{tag}_long'))
    changes = {f'weight decay {decay}': finetuning.replace(weight_decay=decay) for decay in WEIGHT_DECAYS}
    changes |= {f'learning rate {lr}': finetuning.replace(lr=lr) for lr in LEARNING_RATES}
    changes['fine-tuned twice as long'] = finetuning.replace(epochs=2 * finetuning.epochs)
    return [*starts, *(start._replace(row=f'{start.row}, {change}', finetuning=settings)
                       for start in starts for change, settings in changes.items()), *others]


def main() -> None:
    smoke = ('classes', SIZE, ('a', 'b', 'c'))
    with experiment(
            __doc__, 'torch/stl10', seeds=(0,), smoke=smoke, rows=True, ships=False, options=add_options) as e:
        finetuning = e.pick(**FINETUNING)
        finetuning = finetuning.replace(epochs=max(1, finetuning.epochs // 2))
        arms = chosen(rows(e.args.name or e.dataset, e.pick(**PRETRAINING), finetuning), e)
        train, test = e.images('train', SIZE), e.images('test', SIZE)
        unlabelled = train if e.has_folders else e.images('unlabeled', SIZE)
        there = dataclasses.replace(e, out=e.args.autoencoders or e.out)
        wanted = {arm.tag: arm.pretraining for arm in arms if isinstance(arm.pretraining, Pretraining)}
        made = {tag: there.pretrain(f'{ARCHITECTURE}.{tag}', unlabelled, settings, test)
                for tag, settings in wanted.items()}
        arms = [arm._replace(pretraining=made.get(arm.tag)) for arm in arms]
        sweep(e, ARCHITECTURE, arms, finetuning, unlabelled, train, e.pick(**LABELS_PER_CLASS),
              e.pick(**HELD_PER_CLASS), CROP)


if __name__ == '__main__':
    main()
