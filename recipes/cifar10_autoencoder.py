"""Pre-train the 9-layer network on CIFAR-10 as a denoiser, with shortcuts and, as the control, without.

    python recipes/cifar10_autoencoder.py --data-dir data/cifar10

Makes scae_springenberg9.dae_cifar10 and .dae_noskip_cifar10. Paper: sections 2.2, 2.3 and 2.5; it gives the crops, the
flips, the loss and Adam, and no denoising figure.
"""

from scae_zoo.training.experiment import experiment
from scae_zoo.training.pretraining import Pretraining

ARCHITECTURE = 'scae_springenberg9'
SETTINGS = {
    'cpu': Pretraining(epochs=16, crop=29, corruption='gaussian:5-50', opt='adam', lr=1.5e-3),
    'gpu': Pretraining(epochs=200, crop=29, corruption='gaussian:5-50', opt='adam', lr=1.5e-3),
    'smoke': Pretraining(epochs=2, crop=29, batch_size=16),
}


def main() -> None:
    with experiment(__doc__, 'torch/cifar10', seeds=(0,)) as e:
        train, test = e.images('train', 32), e.images('test', 32)
        made = []
        for shortcuts, tag in ((False, 'dae_noskip_cifar10'), (True, 'dae_cifar10')):
            for seed in e.seeds:
                name = f'{ARCHITECTURE}.{tag}'
                settings = e.pick(**SETTINGS).replace(shortcuts=shortcuts, seed=seed)
                checkpoint = e.pretrain(name, train, settings, test, run=f'{tag}-seed{seed}')
                e.add(tag, seed, checkpoint.metrics['denoising_psnr']['denoised'])
                if seed == e.seeds[0]:
                    made.append(checkpoint)
        e.report({}, 'dB at sigma 25.5')
        e.ship(made)


if __name__ == '__main__':
    main()
