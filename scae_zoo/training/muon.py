"""timm's Muon, fitted to the device. timm has no options for this: its functions are replaced during a step."""

import functools
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import timm.optim.muon as timm_muon
import torch

from .precision import precision


@contextmanager
def muon_for(device: torch.device) -> Iterator[None]:
    """Around a step of any optimiser. On a CPU Muon's orthogonalisation is done in the precision that it is fast in
    (timm's is bfloat16); elsewhere for all matrices of a shape together, since one alone keeps no GPU busy."""
    originals = timm_muon.muon, timm_muon.zeropower_via_newtonschulz
    if device.type == 'cpu':
        timm_muon.zeropower_via_newtonschulz = functools.partial(originals[1], dtype=precision(device))
    else:
        timm_muon.muon = _step_by_shapes
    try:
        yield
    finally:
        timm_muon.muon, timm_muon.zeropower_via_newtonschulz = originals


def _step_by_shapes(
        params: list[torch.Tensor],
        grads: list[torch.Tensor],
        momentum_bufs: list[torch.Tensor],
        *,
        lr: float,
        weight_decay: float,
        momentum: float,
        nesterov: bool,
        ns_steps: int,
        ns_coefficients: Any,
        adjust_lr_fn: str | None,
        eps: float,
        safety_factor: float,
        scale_eps: bool,
        **_: Any,
) -> None:
    """What timm's ``muon`` does, with its arguments; convolutions are matrices of a row an index of their
    weight's first dimension."""
    coefficients = timm_muon.resolve_ns_coefficients(ns_coefficients, timm_muon._COEFFICIENTS)
    torch._foreach_mul_(params, 1 - lr * weight_decay)
    torch._foreach_lerp_(momentum_bufs, grads, 1 - momentum)
    updates = torch._foreach_lerp(grads, momentum_bufs, momentum) if nesterov else momentum_bufs
    of_shape = defaultdict(list)
    for i, param in enumerate(params):
        of_shape[param.shape].append(i)
    for shape, indices in of_shape.items():
        # columns in the order of channels_last memory, which saves a copy; the result does not depend on their order
        matrices = torch.stack([updates[i].movedim(1, -1).flatten(1) for i in indices])
        steps = timm_muon.zeropower_via_newtonschulz(
            matrices, ns_steps, coefficients, eps=eps, safety_factor=safety_factor, scale_eps=scale_eps).float()
        scale = timm_muon.get_lr_scale(matrices.shape[1:], adjust_lr_fn) if adjust_lr_fn else 1.
        torch._foreach_add_(
            [params[i] for i in indices],
            [step.view(shape[0], *shape[2:], shape[1]).movedim(-1, 1) for step in steps], alpha=-lr * scale)
