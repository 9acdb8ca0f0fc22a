"""The decoder: a chain of deconvolutions that mirrors the encoder's convolutions."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn as nn
import torch.nn.functional as F
from timm.layers import get_norm_act_layer, is_exporting
from torch.utils.checkpoint import checkpoint

from .architectures import ConvSpec
from .scae import fuse_conv_norm, init_weights


class Deconv2d(nn.ConvTranspose2d):
    """The transposed convolution that mirrors one convolution: its output has the size of that convolution's input.

    A stride-2 convolution maps both 2i - 1 and 2i to i, so the size wanted is read from the mirrored tensor.
    """

    def __init__(self, in_chs: int, out_chs: int, spec: ConvSpec, bias: bool = False, **dd) -> None:
        _, kernel_size, stride = spec
        super().__init__(in_chs, out_chs, kernel_size, stride, padding=kernel_size // 2, bias=bias, **dd)

    def forward(self, x: torch.Tensor, mirrored: torch.Tensor) -> torch.Tensor:  # type: ignore[override]
        stride, padding = self.stride[0], self.kernel_size[0] // 2
        if not torch.jit.is_scripting() and is_exporting() and stride > 1:
            # the range check on output_padding cannot be proved for dynamic sizes; taking rows by index needs no proof
            x = F.conv_transpose2d(x, self.weight, self.bias, stride, padding, stride - 1)
            for dim in (2, 3):
                x = x.index_select(dim, torch.arange(mirrored.shape[dim], device=x.device))
            return x
        # with odd kernels and half padding, a transposed convolution alone gives stride * (i - 1) + 1
        pad = [mirrored.shape[dim] - (stride * (x.shape[dim] - 1) + 1) for dim in range(2, 4)]
        return F.conv_transpose2d(x, self.weight, self.bias, stride, padding, pad)


class ScaeDecoderBlock(nn.Module):
    """Deconvolution, shortcut added, norm, activation (paper, section 2.1: the pre-activation order)."""

    def __init__(
            self,
            in_chs: int,
            out_chs: int,
            spec: ConvSpec,
            norm_act_layer: Callable[..., nn.Module],
            is_shortcut_target: bool,
            device=None,
            dtype=None,
    ) -> None:
        dd = {'device': device, 'dtype': dtype}
        super().__init__()
        self.deconv = Deconv2d(in_chs, out_chs, spec, **dd)
        self.bn = norm_act_layer(out_chs, inplace=True, **dd)
        self.is_shortcut_target = is_shortcut_target
        self.register_buffer('raw_scale', None)  # what a folded norm makes of the shortcut

    def forward(self, x: torch.Tensor, raw: torch.Tensor) -> torch.Tensor:
        x = self.deconv(x, raw)
        return self.bn(self.add_shortcut(x, raw) if self.is_shortcut_target else x)

    def add_shortcut(self, x: torch.Tensor, raw: torch.Tensor) -> torch.Tensor:
        """The deconvolution's output and the raw output of the encoder's convolution, added."""
        scale: torch.Tensor | None = self.raw_scale
        return x + raw if scale is None else torch.addcmul(x, raw, scale.to(x.dtype))

    def fuse(self) -> 'ScaeDecoderBlock':
        """Fold the norm into the deconvolution; a shortcut that is added between the two is scaled alike."""
        norm: Any = self.bn
        fused = fuse_conv_norm(self.deconv, norm, transpose=True)
        if fused is not None:
            if self.is_shortcut_target:
                scale = torch.rsqrt(norm.running_var + norm.eps) * (norm.weight if norm.affine else 1.)
                self.raw_scale = scale.detach()[:, None, None]
            self.deconv, self.bn = fused, getattr(norm, 'act', nn.Identity())
        return self


class ScaeDecoder(nn.Module):
    """Deconvolutions d_N … d_1, where d_i undoes the size change of conv i and brings back its input's channels.

    With shortcuts, d_i's output has z_{i-1}, the raw output of conv i - 1, added to it for every even i - 1 >= 2
    (paper, section 2.5: "every 2 convolutional layers").

    Args:
        convs: The encoder's convolutions.
        in_chans: Channels of the image that the encoder saw.
        num_classes: None for an auto-encoder, whose last layer is the linear deconvolution d_1 back to the image;
            otherwise the last layer is a 3 x 3 convolution to that many channels (paper, section 3.3).
        shortcuts: Whether the raw outputs of the encoder are added.
    """

    def __init__(
            self,
            convs: Sequence[ConvSpec],
            in_chans: int = 3,
            num_classes: int | None = None,
            shortcuts: bool = True,
            act_layer: str | type[nn.Module] = 'relu',
            norm_layer: str | type[nn.Module] = 'batchnorm2d',
            device=None,
            dtype=None,
    ) -> None:
        dd = {'device': device, 'dtype': dtype}
        super().__init__()
        self.shortcuts = shortcuts
        self.num_classes = num_classes
        self.grad_checkpointing = False
        norm_act_layer = get_norm_act_layer(norm_layer, act_layer)
        self.blocks = nn.ModuleList(
            ScaeDecoderBlock(
                convs[i].channels, convs[i - 1].channels, convs[i], norm_act_layer, shortcuts and i % 2 == 0, **dd)
            for i in range(len(convs) - 1, 0, -1)  # i = the number of convs before this one, z_i its mirror
        )
        channels = convs[0].channels
        if num_classes is None:
            self.head: nn.Module = Deconv2d(channels, in_chans, convs[0], bias=True, **dd)
        else:
            self.head = nn.Conv2d(channels, num_classes, kernel_size=3, padding=1, **dd)
        self.apply(init_weights)

    def forward_features(self, features: torch.Tensor, raw: list[torch.Tensor]) -> torch.Tensor:
        """Everything but the last layer: a tensor of z_1's shape.

        Args:
            features: The encoder's output, N x C_N x H_N x W_N.
            raw: z_0 … z_{N-1} (``ScaeEncoder.forward_shortcuts``); without shortcuts only their sizes are read.
        """
        for i, block in enumerate(self.blocks):
            z = raw[-1 - i]
            if self.grad_checkpointing and not torch.jit.is_scripting():
                features = checkpoint(block, features, z, use_reentrant=False)
            else:
                features = block(features, z)
        return features

    def forward(self, features: torch.Tensor, raw: list[torch.Tensor]) -> torch.Tensor:
        """The last layer's output, from what ``forward_features`` takes: an image, to which the one that went in is not
        added yet, or logits of z_1's size."""
        x = self.forward_features(features, raw)
        if self.num_classes is None:
            return self.head(x, raw[0])
        return self.head(x)
