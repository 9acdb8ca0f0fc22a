"""timm's Muon and AdaMuon, fitted to the device; timm knows them as ``scaemuon`` and so on."""

import math
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any

import timm.optim.muon as timm_muon
import torch
from timm.optim._optim_factory import OptimInfo, default_registry  # where timm registers its own

from .precision import precision

# what stands in for timm's, by their names, of which timm allows no underscore; and the options that make them
FITTED = {'muon': 'scaemuon', 'nmuon': 'scaenmuon', 'adamuon': 'scaeadamuon', 'nadamuon': 'scaenadamuon'}
_OPTIONS: dict[str, dict[str, Any]] = {
    'muon': {}, 'nmuon': {'nesterov': True}, 'adamuon': {'algo': 'adamuon'},
    'nadamuon': {'algo': 'adamuon', 'nesterov': True}}

# by which the steps enlarge what is small. They square it in the Gram matrix's rounding errors, of 1e-7
LARGEST_GAIN = 1100.


class FittedMuon(timm_muon.Muon):
    """timm's Muon, with its options, state and steps. On a CPU the orthogonalisation is done in the precision that it
    is fast in (timm's is bfloat16), and in float32 by a shorter way; elsewhere Muon's for all matrices of a shape
    together, since one alone keeps no GPU busy. What is no matrix is left to timm, whose AdamW takes it; and so are
    AdaMuon elsewhere, and convolutions that are to be more than one matrix."""

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:  # type: ignore[override]
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        stepped = []
        for group in self.param_groups:
            params = [p for p in group['params'] if p.grad is not None and self._is_matrix(p, group)]
            step = step_for(params[0].device, group) if params else None
            if step is not None:
                grads = [p.grad for p in params]
                step(params, grads, [self._state(p, group) for p in params], group)
                stepped += list(zip(params, grads, strict=True))
        try:
            for param, _ in stepped:  # timm passes over what has no gradient
                param.grad = None
            super().step()
        finally:
            for param, grad in stepped:
                param.grad = grad
        return loss

    def _is_matrix(self, param: torch.Tensor, group: dict[str, Any]) -> bool:
        """Whether Muon's step is for it, as timm decides, who keeps that in the state."""
        state = self.state[param]
        if 'use_muon' not in state:
            suitable = group.get('use_muon', timm_muon._is_suitable_for_muon(param))
            state['use_muon'] = suitable and not group.get('use_fallback', False)
        return state['use_muon']

    def _state(self, param: torch.Tensor, group: dict[str, Any]) -> dict[str, Any]:
        """A matrix's state, which begins as timm begins it."""
        state = self.state[param]
        if 'momentum_buffer' not in state:
            state['momentum_buffer'] = torch.zeros_like(param, memory_format=torch.preserve_format)
        if group['algo'] == 'adamuon' and 'step' not in state:
            state['step'] = timm_muon._init_step(param, group['capturable'])
            state['exp_avg_sq'] = torch.zeros_like(param, memory_format=torch.preserve_format)
        return state


Step = Callable[[list[torch.Tensor], list[torch.Tensor], list[dict[str, Any]], dict[str, Any]], None]


def step_for(device: torch.device, group: dict[str, Any]) -> Step | None:
    """What takes the step of a group's matrices on a device; None where that is left to timm."""
    if group['conv_mode'] != 'flatten':
        return None
    if device.type == 'cpu':
        return _step_each
    return _step_by_shapes if group['algo'] == 'muon' else None


def _orthogonal(matrices: torch.Tensor, group: dict[str, Any], dtype: torch.dtype) -> torch.Tensor:
    """M x N or B x M x N: the nearest orthogonal matrices."""
    coefficients = timm_muon.resolve_ns_coefficients(group['ns_coefficients'], timm_muon._COEFFICIENTS)
    steps = (coefficients + group['ns_steps'] * coefficients[-1:])[:group['ns_steps']]
    short, long = sorted(matrices.shape[-2:])
    is_small = math.prod(a for a, _, _ in steps) <= LARGEST_GAIN
    if dtype is torch.float32 and 2 * short <= long and is_small and not group['scale_eps']:
        return _orthogonal_by_gram(matrices, steps, group['eps'], group['safety_factor'])
    return timm_muon.zeropower_via_newtonschulz(
        matrices, group['ns_steps'], coefficients, eps=group['eps'], safety_factor=group['safety_factor'],
        dtype=dtype, scale_eps=group['scale_eps'])


def _orthogonal_by_gram(
        matrices: torch.Tensor,
        steps: Sequence[tuple[float, float, float]],
        eps: float,
        safety_factor: float,
) -> torch.Tensor:
    """The same in float32, in two products with the long side where timm has ten: each step multiplies by a
    polynomial of X Xᵀ, and these are multiplied with each other first."""
    is_tall = matrices.shape[-2] > matrices.shape[-1]
    x = (matrices.mT if is_tall else matrices).float()
    x = x / x.norm(dim=(-2, -1), keepdim=True).mul(safety_factor).clamp(min=eps)
    gram = x @ x.mT
    product: torch.Tensor | None = None
    for number, (a, b, c) in enumerate(steps, 1):
        factor = b * gram + c * (gram @ gram)
        factor.diagonal(dim1=-2, dim2=-1).add_(a)
        product = factor if product is None else factor @ product
        if number < len(steps):
            gram = factor @ (gram @ factor)
    x = x if product is None else product @ x
    return x.mT if is_tall else x


def _rate(shape: torch.Size, group: dict[str, Any]) -> float:
    """The learning rate of a matrix of this shape."""
    adjust = group['adjust_lr_fn']
    return group['lr'] * (timm_muon.get_lr_scale(shape, adjust) if adjust else 1.)


def _step_each(
        params: list[torch.Tensor],
        grads: list[torch.Tensor],
        states: list[dict[str, Any]],
        group: dict[str, Any],
) -> None:
    """Each matrix by itself; a convolution is a matrix of a row an index of its weight's first dimension."""
    dtype = precision(params[0].device)
    for param, grad, state in zip(params, grads, states, strict=True):
        momentum = state['momentum_buffer']
        param.mul_(1 - group['lr'] * group['weight_decay'])
        momentum.lerp_(grad, 1 - group['momentum'])
        update = grad.lerp(momentum, group['momentum']) if group['nesterov'] else momentum.clone()
        matrix = _orthogonal(update.reshape(len(update), -1), group, dtype)
        step = matrix.reshape(update.shape)
        if group['algo'] == 'muon':
            param.add_(step, alpha=-_rate(matrix.shape, group))
        else:
            step, scale = _adapted(step, matrix.shape, state, group)
            param.add_(step, alpha=-group['lr'] * scale)


def _adapted(
        step: torch.Tensor,
        shape: torch.Size,
        state: dict[str, Any],
        group: dict[str, Any],
) -> tuple[torch.Tensor, float]:
    """AdaMuon's step of an orthogonal one (https://arxiv.org/abs/2507.11005), as timm takes it, and what scales it."""
    state['step'].add_(1)
    scale, by_norm = 1., False
    if group['adjust_lr_fn']:
        scale, by_norm = timm_muon.get_adamuon_lr_scale(shape, group['adjust_lr_fn'])
    beta, squares = group['betas'][1], state['exp_avg_sq']
    squares.mul_(beta).addcmul_(step, step, value=1. - beta)
    if by_norm:
        adapted = step / squares.sqrt().add_(group['eps'])
        return adapted / adapted.norm().add_(group['eps']), scale
    return step / (squares / (1. - beta ** state['step'].item())).sqrt().add_(group['eps']), scale


def _step_by_shapes(
        params: list[torch.Tensor],
        grads: list[torch.Tensor],
        states: list[dict[str, Any]],
        group: dict[str, Any],
) -> None:
    """All matrices of a shape together."""
    momenta = [state['momentum_buffer'] for state in states]
    torch._foreach_mul_(params, 1 - group['lr'] * group['weight_decay'])
    torch._foreach_lerp_(momenta, grads, 1 - group['momentum'])
    updates = torch._foreach_lerp(grads, momenta, group['momentum']) if group['nesterov'] else momenta
    of_shape = defaultdict(list)
    for i, param in enumerate(params):
        of_shape[param.shape].append(i)
    for shape, indices in of_shape.items():
        # columns in the order of channels_last memory, which saves a copy; the result does not depend on their order
        matrices = torch.stack([updates[i].movedim(1, -1).flatten(1) for i in indices])
        # times the rate, which in a CUDA graph is a tensor and no alpha
        steps = _orthogonal(matrices, group, torch.bfloat16).float() * -_rate(matrices.shape[1:], group)
        torch._foreach_add_(
            [params[i] for i in indices],
            [step.view(shape[0], *shape[2:], shape[1]).movedim(-1, 1) for step in steps])


for _name, _ours in FITTED.items():
    default_registry.register(OptimInfo(
        name=_ours, opt_class=FittedMuon, description=f"timm's {_name}, fitted to the device", has_momentum=True,
        has_eps=True, has_betas=True, defaults=_OPTIONS[_name]))
