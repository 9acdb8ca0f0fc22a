"""How the settings of stl10_folds.py can be chosen: on training images held out, for the method and its controls alike.

    python recipes/stl10_sweep.py --budget cpu --data-dir data/imagenette160

Each row changes one of that recipe's settings: the weight decay or the passes of fine-tuning, from either auto-encoder
and from random weights; the corruption or the passes of pre-training. With --rows the table has these alone.
"""

from stl10_folds import ARCHITECTURE, FINETUNING, LABELS_PER_CLASS, PRETRAINING, SIZE

from scae_zoo.experiments.comparison import Arm, chosen
from scae_zoo.experiments.experiment import experiment
from scae_zoo.experiments.sweep import sweep
from scae_zoo.methods.finetuning import FineTuning
from scae_zoo.methods.pretraining import Pretraining

CROP = 89
WEIGHT_DECAYS = (0.5, 1.5)
CORRUPTIONS = ('block:0.5:8', 'gaussian:25')
HELD_PER_CLASS = {'cpu': 100, 'gpu': 100, 'smoke': 4}


def rows(pretraining: Pretraining, finetuning: FineTuning) -> list[Arm]:
    starts, others = [Arm('no pre-training', None)], []
    for row, tag, shortcuts in (('no shortcut', 'dae_noskip_sweep', False), ('shortcuts', 'dae_sweep', True)):
        plain = pretraining.replace(shortcuts=shortcuts)
        starts.append(Arm(row, plain, tag))
        others += [Arm(f'{row}, {corruption}', plain.replace(corruption=corruption), f'{tag}{i}')
                   for i, corruption in enumerate(CORRUPTIONS)]
        others.append(Arm(f'{row}, pre-trained twice as long', plain.replace(epochs=2 * plain.epochs), f'{tag}_long'))
    changes = {f'weight decay {decay}': finetuning.replace(weight_decay=decay) for decay in WEIGHT_DECAYS}
    changes['fine-tuned twice as long'] = finetuning.replace(epochs=2 * finetuning.epochs)
    return [*starts, *(start._replace(row=f'{start.row}, {change}', finetuning=settings)
                       for start in starts for change, settings in changes.items()), *others]


def main() -> None:
    smoke = ('classes', SIZE, ('a', 'b', 'c'))
    with experiment(__doc__, 'torch/stl10', seeds=(0,), smoke=smoke, rows=True, ships=False) as e:
        finetuning = e.pick(**FINETUNING)
        arms = chosen(rows(e.pick(**PRETRAINING), finetuning), e)
        train = e.images('train', SIZE)
        unlabelled = None if e.has_folders else e.images('unlabeled', SIZE)
        sweep(e, ARCHITECTURE, arms, finetuning, unlabelled, train, e.pick(**LABELS_PER_CLASS),
              e.pick(**HELD_PER_CLASS), CROP)


if __name__ == '__main__':
    main()
