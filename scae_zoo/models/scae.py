"""SCAE: encoders of the convolutional denoising auto-encoders with symmetric shortcuts, as timm models.

Paper: `Learning Deep Representations Using Convolutional Auto-Encoders with Symmetric Skip Connections`
(Dong, Mao, Shen, Yang; ICASSP 2018) - https://arxiv.org/abs/1611.09119

This file holds what timm sees: the encoder and its classifier. Its convolutions are in
``architectures.py``, the decoder in ``decoder.py``, both halves together in ``autoencoder.py``.
"""

from collections.abc import Callable
from itertools import accumulate
from operator import mul
from typing import Any, TypeVar

import torch
import torch.nn as nn
from timm.data import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from timm.layers import ClassifierHead, get_device_dtype, get_norm_act_layer
from timm.models import (
    build_model_with_cfg,
    checkpoint_seq,
    generate_default_cfgs,
    register_model,
)
from timm.models._features import feature_take_indices  # not public; every model family of timm uses it
from torch.nn.modules.conv import _ConvNd

from ..checkpoints import timm_configs
from ..checkpoints.folder import misfit, shapes
from ..errors import CheckpointError
from .architectures import ARCHITECTURES, ConvSpec

__all__ = ['ScaeBlock', 'ScaeEncoder', 'fuse_conv_norm', 'init_weights']


ConvT = TypeVar('ConvT', bound=_ConvNd)


def fuse_conv_norm(conv: ConvT, norm: nn.Module, transpose: bool = False) -> ConvT | None:
    """The (de)convolution with the batch norm that follows folded into it, or None where there is nothing to fold."""
    if not isinstance(norm, nn.BatchNorm2d) or norm.running_mean is None:
        return None
    return nn.utils.fuse_conv_bn_eval(conv.eval(), norm.eval(), transpose=transpose)


def init_weights(module: nn.Module) -> None:
    """N(0, 0.01) for every weight, zero for every bias (paper, section 2.5). Norm layers keep their own start.

    The decoder's last deconvolution has no norm behind it, so this start keeps the learned residual near zero.
    """
    if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d, nn.Linear)):
        nn.init.normal_(module.weight, std=0.01)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


class ScaeBlock(nn.Module):
    """Convolution, norm, activation, dropout: N x C_in x H x W to N x C_out x ceil(H / stride) x ceil(W / stride)."""

    def __init__(
            self,
            in_chs: int,
            spec: ConvSpec,
            norm_act_layer: Callable[..., nn.Module],
            drop_rate: float = 0.,
            dilation: int = 1,
            device=None,
            dtype=None,
    ) -> None:
        dd = {'device': device, 'dtype': dtype}
        super().__init__()
        channels, kernel_size, stride = spec
        self.conv = nn.Conv2d(
            in_chs, channels, kernel_size, stride, padding=dilation * (kernel_size // 2), dilation=dilation, bias=False,
            **dd)
        self.bn = norm_act_layer(channels, inplace=True, **dd)
        self.drop = nn.Dropout(drop_rate) if drop_rate > 0. else nn.Identity()
        # a decoder adds this block's raw conv output: then the norm must stay apart from the conv
        self.is_shortcut_source = False

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.drop(self.bn(self.conv(x)))

    def forward_raw(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The convolution's raw output beside what ``forward`` gives."""
        z = self.conv(x)
        return z, self.drop(self.bn(z))

    def fuse(self) -> 'ScaeBlock':
        """Fold the norm into the convolution, for inference; ``timm.models.reparameterize_model`` calls this."""
        fused = None if self.is_shortcut_source else fuse_conv_norm(self.conv, self.bn)
        if fused is not None:
            self.conv, self.bn = fused, getattr(self.bn, 'act', nn.Identity())
        return self


class ScaeEncoder(nn.Module):
    """Encoder of a symmetric convolutional auto-encoder with a classifier on top (global pooling and one linear layer).

    Args:
        convs: The convolutions, in order.
        num_classes: Classes of the linear classifier; 0 for none, the pooled features are then the output.
        in_chans: Channels of the input image.
        global_pool: Pooling before the classifier, in timm's names.
        act_layer: Activation, a name of timm's or a class.
        norm_layer: Norm, a name of timm's or a class.
        drop_rate: Dropout before the classifier.
        in_drop_rate: Dropout on the input image (All-CNN: 0.2).
        down_drop_rate: Dropout after each down-sampling convolution (All-CNN: 0.5).
        output_stride: Side of the image to that of the features. Less than the network's own keeps the places that its
            later strides would skip, and dilates the convolutions behind them: each sees what it has learned to see.

    Raises:
        ValueError: The network cannot have this ``output_stride``.
    """

    pretrained_cfg: dict[str, Any]  # set by timm
    feature_info: list[dict[str, Any]]
    feature_ends: list[int]

    def __init__(
            self,
            convs: tuple[ConvSpec, ...],
            num_classes: int = 1000,
            in_chans: int = 3,
            global_pool: str = 'avg',
            act_layer: str | type[nn.Module] = 'relu',
            norm_layer: str | type[nn.Module] = 'batchnorm2d',
            drop_rate: float = 0.,
            in_drop_rate: float = 0.,
            down_drop_rate: float = 0.,
            output_stride: int | None = None,
            device=None,
            dtype=None,
    ) -> None:
        dd = {'device': device, 'dtype': dtype}
        super().__init__()
        reductions = sorted({1, *accumulate((spec.stride for spec in convs), mul)})
        if output_stride not in (None, *reductions):
            raise ValueError(f'output_stride must be {" or ".join(map(str, reductions))} for this network, not '
                             f'{output_stride}')
        self.num_classes = num_classes
        self.in_chans = in_chans
        self.drop_rate = drop_rate
        self.grad_checkpointing = False
        norm_act_layer = get_norm_act_layer(norm_layer, act_layer)

        self.drop_in = nn.Dropout(in_drop_rate) if in_drop_rate > 0. else nn.Identity()
        self.feature_info = []
        self.feature_ends = []  # index of each tap's block: the last one of its resolution
        blocks = []
        prev_chs, reduction, dilation = in_chans, 1, 1
        for i, spec in enumerate(convs):
            if spec.stride > 1 and i > 0:
                self._add_tap(i - 1, prev_chs, reduction)
            is_dense = reduction == output_stride  # a stride becomes a dilation of the convolutions behind this one
            blocks += [ScaeBlock(
                prev_chs, spec._replace(stride=1) if is_dense else spec, norm_act_layer,
                down_drop_rate if spec.stride > 1 else 0., dilation, **dd)]
            if is_dense:
                dilation *= spec.stride
            else:
                reduction *= spec.stride
            prev_chs = spec.channels
        self._add_tap(len(convs) - 1, prev_chs, reduction)
        self.blocks = nn.Sequential(*blocks)

        self.num_features = prev_chs
        self.head = ClassifierHead(prev_chs, num_classes, pool_type=global_pool, drop_rate=drop_rate, **dd)
        self.head_hidden_size = self.head.num_features
        self.apply(init_weights)

    def _add_tap(self, index: int, channels: int, reduction: int) -> None:
        self.feature_info.append(dict(num_chs=channels, reduction=reduction, module=f'blocks.{index}'))
        self.feature_ends.append(index)

    @torch.jit.ignore
    def group_matcher(self, coarse: bool = False) -> dict[str, Any]:
        return dict(stem=r'^blocks\.0\.', blocks=r'^blocks\.(\d+)')

    @torch.jit.ignore
    def set_grad_checkpointing(self, enable: bool = True) -> None:
        self.grad_checkpointing = enable

    @torch.jit.ignore
    def get_classifier(self) -> nn.Module:
        return self.head.fc

    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        self.num_classes = num_classes
        self.head.reset(num_classes, global_pool, **get_device_dtype(self))
        self.head.apply(init_weights)
        self.head_hidden_size = self.head.num_features

    def forward_intermediates(
            self,
            x: torch.Tensor,
            indices: int | list[int] | None = None,
            norm: bool = False,
            stop_early: bool = False,
            output_fmt: str = 'NCHW',
            intermediates_only: bool = False,
    ) -> list[torch.Tensor] | tuple[torch.Tensor, list[torch.Tensor]]:
        """Features together with those of the taps in ``feature_info``, one tap a resolution.

        Args:
            x: N x C x H x W image.
            indices: Take the last n taps if int, all if None, those named if a sequence.
            norm: Has no effect, there is no final norm.
            stop_early: Stop after the last tap wanted.
            output_fmt: 'NCHW', the only one.
            intermediates_only: Return the taps alone.
        """
        if output_fmt != 'NCHW':
            raise ValueError(f"output_fmt must be 'NCHW', not '{output_fmt}'")
        take_indices, max_index = feature_take_indices(len(self.feature_ends), indices)
        taps = [self.feature_ends[i] for i in take_indices]
        if torch.jit.is_scripting() or not stop_early:  # TorchScript slices no modules
            blocks = self.blocks
        else:
            blocks = self.blocks[:self.feature_ends[max_index] + 1]
        x = self.drop_in(x)
        intermediates = []
        for i, block in enumerate(blocks):
            if self.grad_checkpointing and not torch.jit.is_scripting():  # noqa: SIM108  (TorchScript reads this form)
                x = checkpoint_seq([block], x)
            else:
                x = block(x)
            if i in taps:
                intermediates.append(x)
        if intermediates_only:
            return intermediates
        return x, intermediates

    def prune_intermediate_layers(
            self,
            indices: int | list[int] = 1,
            prune_norm: bool = False,
            prune_head: bool = True,
    ) -> list[int]:
        """Drop the blocks behind the last tap wanted (and then the classifier, which was sized for them)."""
        take_indices, max_index = feature_take_indices(len(self.feature_ends), indices)
        cut = max_index < len(self.feature_ends) - 1
        self.blocks = self.blocks[:self.feature_ends[max_index] + 1]
        if cut:
            self.num_features = self.feature_info[max_index]['num_chs']
        if cut or prune_head:
            self.num_classes = 0
            self.head = ClassifierHead(self.num_features, 0, pool_type='', drop_rate=self.drop_rate)
            self.head.train(self.training)
            self.head_hidden_size = self.head.num_features
        return take_indices

    def forward_features(self, x: torch.Tensor) -> torch.Tensor:
        x = self.drop_in(x)
        if self.grad_checkpointing and not torch.jit.is_scripting():
            x = checkpoint_seq(self.blocks, x)
        else:
            x = self.blocks(x)
        return x

    def forward_head(self, x: torch.Tensor, pre_logits: bool = False) -> torch.Tensor:
        return self.head(x, pre_logits=pre_logits)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.forward_features(x)
        x = self.forward_head(x)
        return x

    def forward_shortcuts(self, x: torch.Tensor) -> tuple[torch.Tensor, list[torch.Tensor]]:
        """Features of the last block, and z_0 … z_{N-1}: the image and each conv's raw output but the last one's."""
        raw = [x]
        x = self.drop_in(x)
        for block in self.blocks:
            if self.grad_checkpointing and not torch.jit.is_scripting():
                z, x = checkpoint_seq([block.forward_raw], x)
            else:
                z, x = block.forward_raw(x)  # type: ignore[operator]
            raw.append(z)
        return x, raw[:-1]


def checkpoint_filter_fn(state_dict: dict[str, torch.Tensor], model: ScaeEncoder) -> dict[str, torch.Tensor]:
    """The encoder's part of an auto-encoder's or encoder's state; refuses what does not belong to the architecture.

    timm loads leniently when the number of classes differs, so that a wrong file would go unnoticed: this does not.
    """
    if any(key.startswith('encoder.') for key in state_dict):
        state_dict = {k.removeprefix('encoder.'): v for k, v in state_dict.items() if k.startswith('encoder.')}
    cfg = model.pretrained_cfg
    have, want = shapes(state_dict), shapes(model.state_dict())
    first = 'blocks.0.conv.weight'
    channels, _, *kernel = want[first]
    if have.get(first) != want[first]:
        want[first] = (channels, cfg['input_size'][0], *kernel)  # timm adapts it to in_chans afterwards
    if model.num_classes != cfg['num_classes']:  # then timm leaves out the classifier
        have, want = ({k: v for k, v in state.items() if not k.startswith('head.')} for state in (have, want))
    fault = misfit(have, want)
    if fault:
        raise CheckpointError(f'{cfg.get("file", "the state_dict")}: {fault}. '
                              'Ways out: create the architecture that it was made with; or give another file')
    return {**state_dict, first: state_dict[first].float()}  # adapted in the precision that it has


def _create_scae(variant: str, pretrained: bool = False, **kwargs: Any) -> ScaeEncoder:
    made_with: dict[str, Any] = {}
    if pretrained:
        kwargs['pretrained_cfg_overlay'], made_with = timm_configs.verified_overlay(
            variant, kwargs.get('pretrained_cfg'), kwargs.get('pretrained_cfg_overlay'), kwargs.get('cache_dir'))
        kwargs = made_with | kwargs
    convs = ARCHITECTURES[variant]
    taps = 1 + sum(spec.stride > 1 for spec in convs[1:])
    out_indices = kwargs.pop('out_indices', tuple(range(taps)))
    if kwargs.get('features_only') and not isinstance(out_indices, int) and not all(
            -taps <= index < taps for index in out_indices):
        raise ValueError(
            f'out_indices must be 0 to {taps - 1} for this network, not {", ".join(map(str, out_indices))}; in '
            f'segmentation_models.pytorch give encoder_depth={sum(spec.stride > 1 for spec in convs)}')
    model: Any = build_model_with_cfg(
        ScaeEncoder,
        variant,
        pretrained,
        pretrained_filter_fn=checkpoint_filter_fn,
        feature_cfg=dict(out_indices=out_indices, flatten_sequential=True),
        convs=convs,
        **kwargs,
    )
    model._model_args = made_with  # timm adds the caller's, and writes them into config.json
    names = model.pretrained_cfg.get('label_names')
    if names and not timm_configs.may_claim_names(
            names, getattr(model, 'num_classes', 0), default_cfgs[variant].cfgs.values(), pretrained,
            kwargs.get('pretrained_cfg'), kwargs.get('pretrained_cfg_overlay')):
        model.pretrained_cfg = model.default_cfg = {k: v for k, v in model.pretrained_cfg.items() if k != 'label_names'}
    return model


def _cfg(**kwargs: Any) -> dict[str, Any]:
    return {
        'num_classes': 1000,
        'input_size': (3, 225, 225),
        'pool_size': (8, 8),
        'crop_pct': 225 / 256,
        'min_input_size': (3, 17, 17),
        'interpolation': 'bicubic',
        'mean': IMAGENET_DEFAULT_MEAN,
        'std': IMAGENET_DEFAULT_STD,
        'first_conv': 'blocks.0.conv',
        'classifier': 'head.fc',
        'license': 'apache-2.0',
        'paper_ids': 'arXiv:1611.09119',
        'paper_name': 'Learning Deep Representations Using Convolutional Auto-Encoders with Symmetric Skip Connections',
        'origin_url': 'https://arxiv.org/abs/1611.09119',
        **kwargs,
    }


def _cifar_cfg(**kwargs: Any) -> dict[str, Any]:
    # channel statistics of the 50,000 training images
    return _cfg(**{
        'num_classes': 10, 'input_size': (3, 29, 29), 'crop_pct': 29 / 32,
        'mean': (0.4914, 0.4822, 0.4465), 'std': (0.2470, 0.2435, 0.2616),
        **kwargs,
    })


def _stl_cfg(**kwargs: Any) -> dict[str, Any]:
    # channel statistics of the 100,000 unlabelled images
    return _cfg(**{
        'num_classes': 10, 'input_size': (3, 89, 89), 'pool_size': (12, 12), 'crop_pct': 89 / 96,
        'mean': (0.4467, 0.4398, 0.4066), 'std': (0.2603, 0.2566, 0.2713),
        **kwargs,
    })


_UNTRAINED = {
    'scae_springenberg9': _cifar_cfg(),
    'scae_allconv15': _cifar_cfg(),
    'scae_swwae': _stl_cfg(),
    'scae_vgg16': _cfg(),
}
default_cfgs = generate_default_cfgs({
    **timm_configs.pretrained_cfgs(_UNTRAINED),
    **{f'{name}.untrained': cfg for name, cfg in _UNTRAINED.items()},
})


@register_model
def scae_springenberg9(pretrained: bool = False, **kwargs: Any) -> ScaeEncoder:
    """The 9-layer network without pooling of the paper's Table 2: All-CNN-C, 29 x 29 crops of CIFAR-10."""
    return _create_scae('scae_springenberg9', pretrained, **kwargs)


@register_model
def scae_allconv15(pretrained: bool = False, **kwargs: Any) -> ScaeEncoder:
    """The 15-layer all-convolutional network of the paper's Table 1: 29 x 29 crops of CIFAR-10 and CIFAR-100."""
    return _create_scae('scae_allconv15', pretrained, **kwargs)


@register_model
def scae_swwae(pretrained: bool = False, **kwargs: Any) -> ScaeEncoder:
    """The SWWAE-style network of the paper's Table 3: 89 x 89 crops of STL-10."""
    return _create_scae('scae_swwae', pretrained, **kwargs)


@register_model
def scae_vgg16(pretrained: bool = False, **kwargs: Any) -> ScaeEncoder:
    """The fully convolutional VGG-16 of the paper's Tables 4 and 5: 225 x 225 crops of photographs."""
    return _create_scae('scae_vgg16', pretrained, **kwargs)
