"""The networks of the tests, and how their outputs are compared."""

import torch

ARCHITECTURES = ('scae_allconv15', 'scae_springenberg9', 'scae_swwae', 'scae_vgg16')
SHIPPED = 'scae_springenberg9.dae_cifar10'
DEFAULT = 'scae_springenberg9.dae_ft_cifar10_4k'  # what the architecture's name alone means to timm


def randomize_norms(model: torch.nn.Module) -> torch.nn.Module:
    """Give every batch norm statistics and an affine part of its own, as after training."""
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(std=0.1)
            module.running_var.uniform_(0.5, 2)
            module.weight.data.uniform_(0.5, 2)
            module.bias.data.normal_(std=0.1)
    return model.eval()


def randomize(model: torch.nn.Module) -> torch.nn.Module:
    """Weights and batch norms as after training: a fault in any layer, the first too, then shows in the output.

    The networks' own start, N(0, 0.01), shrinks the signal in evaluation to less than rounding after some layers.
    """
    for module in model.modules():
        if isinstance(module, (torch.nn.Conv2d, torch.nn.ConvTranspose2d)):
            torch.nn.init.kaiming_normal_(module.weight)
            if module.bias is not None:
                torch.nn.init.normal_(module.bias)
    return randomize_norms(model)


def assert_same(output: torch.Tensor, expected: torch.Tensor) -> None:
    """Equal up to float32's rounding, which is relative to the largest values that were summed."""
    scale = expected.abs().max()
    torch.testing.assert_close(output / scale, expected / scale, rtol=0, atol=2e-5)
