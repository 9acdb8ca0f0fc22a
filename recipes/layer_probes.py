"""Figure 2: what each layer of three networks knows, trained on 4,000 images of CIFAR-10: supervised, auto-encoder with
and without shortcuts; linear and reconstruction probes on every layer.

    python recipes/layer_probes.py

Makes scae_springenberg9.ft_cifar10_4k, .dae_noskip_cifar10_4k and .dae_cifar10_4k, and probes.png, probes.md.
"""

from scae_zoo.experiments.experiment import experiment
from scae_zoo.experiments.plots import report_probes
from scae_zoo.methods.finetuning import FineTuning
from scae_zoo.methods.pretraining import Pretraining
from scae_zoo.methods.probing import Probing, probe

ARCHITECTURE = 'scae_springenberg9'
PRETRAINING = {
    'cpu': Pretraining(epochs=30, crop=29, flip=False, corruption='gaussian:5-50'),
    'gpu': Pretraining(epochs=400, crop=29, flip=False, corruption='gaussian:5-50'),
    'smoke': Pretraining(epochs=1, crop=29, batch_size=16),
}
SUPERVISED = {
    'cpu': FineTuning(epochs=30, crop=29, flip=False, batch_size=64, drop_rate=0.5, weight_decay=1.5),
    'gpu': FineTuning(epochs=200, crop=29, flip=False, batch_size=64, drop_rate=0.5, weight_decay=1.5),
    'smoke': FineTuning(epochs=1, crop=29, batch_size=8),
}
PROBING = {'cpu': Probing(epochs=20, crop=29), 'gpu': Probing(epochs=40, crop=29),
           'smoke': Probing(epochs=1, crop=29, batch_size=8, width=8)}
LABELS_PER_CLASS = {'cpu': 400, 'gpu': 400, 'smoke': 8}


def main() -> None:
    with experiment(__doc__, 'torch/cifar10', seeds=(0,), one_seed=True) as e:
        train, test = e.images('train', 32), e.images('test', 32)
        labels, seed = e.pick(**LABELS_PER_CLASS), e.seeds[0]
        train = train.labelled(labels, seed)
        supervised, pretraining = e.pick(**SUPERVISED), e.pick(**PRETRAINING)
        probing = e.pick(**PROBING).replace(seed=seed)
        nets = {
            'supervised': e.finetune(f'{ARCHITECTURE}.ft_cifar10_4k', None, train, supervised.replace(seed=seed), test,
                                     'supervised')}
        for row, shortcuts, tag in (('auto-encoder, no shortcut', False, 'dae_noskip_cifar10_4k'),
                                    ('auto-encoder', True, 'dae_cifar10_4k')):
            settings = pretraining.replace(shortcuts=shortcuts, seed=seed)
            nets[row] = e.pretrain(f'{ARCHITECTURE}.{tag}', train, settings, test)
        results = {
            row: probe(checkpoint, train, test, probing, e.options(f'probes/{checkpoint.name}'))
            for row, checkpoint in nets.items()}
        if e.world.is_main:
            report_probes(results, e.out)
        e.ship(nets.values())


if __name__ == '__main__':
    main()
