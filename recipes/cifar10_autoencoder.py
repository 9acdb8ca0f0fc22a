"""Pre-train the 9-layer network on CIFAR-10 as a denoiser: makes the checkpoint scae_springenberg9.dae_cifar10.

    python recipes/cifar10_autoencoder.py --data-dir data/cifar10

DATA_DIR holds train/ and test/ with one image file a picture, in class folders or flat; without it torchvision
downloads the set. A run that was interrupted goes on with the same command. Paper: sections 2.2, 2.3 and 2.5.
"""

import argparse
import dataclasses
import json
import math
import os
import shutil
import time
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors import safe_open
from safetensors.torch import save_file
from tqdm import tqdm

from scae_zoo import Scae, create_autoencoder
from scae_zoo.checkpoint_writing import round_as_stored, update_manifest, write
from scae_zoo.checkpoints import WEIGHTS, Checkpoint, split_name
from scae_zoo.corruption import GaussianNoise
from scae_zoo.training.data import load_folder, normalize, random_crop_flip
from scae_zoo.training.evaluation import denoising_psnr
from scae_zoo.training.provenance import autoencoder_card, describe_environment

NAME = 'scae_springenberg9.dae_cifar10'
ARCHITECTURE, TAG = split_name(NAME)
EVALUATION_SIGMA = 25.5
COMMAND = 'python recipes/cifar10_autoencoder.py --budget {budget}'


@dataclasses.dataclass(frozen=True)
class Recipe:
    """Every hyper-parameter of the run. sigma in 0-255 pixel units; the paper gives crop, flip, loss and Adam only."""

    epochs: int = 16
    batch_size: int = 128
    crop: int = 29
    flip: bool = True
    sigma: tuple[float, float] = (5., 50.)
    clip_noise: bool = True
    learning_rate: float = 1.5e-3
    warmup_steps: int = 200
    seed: int = 0


BUDGETS = {
    'cpu': Recipe(),
    'smoke': Recipe(epochs=2, batch_size=16, warmup_steps=2),
}
SMOKE_IMAGES = 64


def learning_rate(recipe: Recipe, step: int, total: int) -> float:
    """Linear warm-up, then a cosine to zero."""
    if step < recipe.warmup_steps:
        return recipe.learning_rate * (step + 1) / recipe.warmup_steps
    return recipe.learning_rate * 0.5 * (1 + math.cos(math.pi * step / total))


def load_split(data_dir: Path | None, split: str) -> torch.Tensor:
    if data_dir is not None:
        return load_folder(data_dir / split)
    from torchvision.datasets import CIFAR10
    pixels = CIFAR10('data/torchvision', train=split == 'train', download=True).data
    return torch.from_numpy(pixels).permute(0, 3, 1, 2).contiguous()


def save_state(path: Path, model: torch.nn.Module, optimizer: torch.optim.Optimizer, epoch: int) -> None:
    """Weights and optimiser state in one safetensors file, replaced as a whole."""
    tensors = {f'model.{k}': v.contiguous() for k, v in model.state_dict().items()}
    for index, state in optimizer.state_dict()['state'].items():
        tensors |= {f'optimizer.{index}.{k}': v.contiguous() for k, v in state.items()}
    partial = path.with_suffix('.partial')
    save_file(tensors, partial, metadata={'epoch': str(epoch)})
    os.replace(partial, path)


def load_state(path: Path, model: torch.nn.Module, optimizer: torch.optim.Optimizer) -> int:
    """Read back what ``save_state`` wrote; returns the number of epochs done."""
    states: dict[int, dict[str, torch.Tensor]] = {}
    weights = {}
    with safe_open(path, 'pt') as file:
        epoch = int(file.metadata()['epoch'])
        for key in file.keys():  # noqa: SIM118  (the file itself cannot be iterated)
            part, _, name = key.partition('.')
            if part == 'model':
                weights[name] = file.get_tensor(key)
            else:
                index, _, entry = name.partition('.')
                states.setdefault(int(index), {})[entry] = file.get_tensor(key)
    model.load_state_dict(weights)
    # the fused optimiser reads memory in order: a moment must lie in memory as its channels_last parameter does
    for index, parameter in enumerate(model.parameters()):
        for entry, value in states[index].items():
            if value.shape == parameter.shape:
                states[index][entry] = torch.empty_like(parameter).copy_(value)
    optimizer.load_state_dict({**optimizer.state_dict(), 'state': states})
    return epoch


def train(recipe: Recipe, images: torch.Tensor, out: Path, device: torch.device, compile_model: bool) -> Scae:
    """Train from the last whole epoch in ``out`` (or from the start) to the end."""
    torch.manual_seed(recipe.seed)
    model = create_autoencoder(ARCHITECTURE).to(device).to(memory_format=torch.channels_last)
    cfg = model.encoder.pretrained_cfg
    mean, std = cfg['mean'], cfg['std']
    optimizer = torch.optim.Adam(model.parameters(), lr=recipe.learning_rate, fused=True)
    state = out / 'state.safetensors'
    first = load_state(state, model, optimizer) if state.exists() else 0
    step_model = torch.compile(model) if compile_model else model
    corrupt = GaussianNoise(recipe.sigma, mean, std, clip=recipe.clip_noise)
    images = images.to(device)
    steps = len(images) // recipe.batch_size
    log = out / 'log.jsonl'
    for epoch in range(first, recipe.epochs):
        # a function of seed and epoch, so that a run that is resumed sees the same batches
        generator = torch.Generator(device).manual_seed(recipe.seed * 100_003 + epoch)
        order = torch.randperm(len(images), device=device, generator=generator)
        model.train()
        total, start = torch.zeros((), device=device), time.monotonic()
        for step in tqdm(range(steps), f'epoch {epoch + 1}/{recipe.epochs}', unit='step', mininterval=10):
            lr = learning_rate(recipe, epoch * steps + step, recipe.epochs * steps)
            for group in optimizer.param_groups:
                group['lr'] = lr
            batch = images[order[step * recipe.batch_size:(step + 1) * recipe.batch_size]]
            clean = normalize(random_crop_flip(batch, recipe.crop, recipe.flip, generator), mean, std)
            with torch.autocast(device.type, dtype=torch.bfloat16):
                output = step_model(corrupt(clean, generator))
            loss = F.mse_loss(output.float(), clean)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            total += loss.detach()
        seconds = time.monotonic() - start
        mse = total.item() / steps
        if not math.isfinite(mse):
            raise SystemExit(f'the loss became {mse} in epoch {epoch + 1}; {state} holds the state before it')
        save_state(state, model, optimizer, epoch + 1)
        speed = round(steps * recipe.batch_size / seconds)
        row = dict(epoch=epoch + 1, mse=mse, seconds=round(seconds, 1), images_per_second=speed)
        with log.open('a') as file:
            file.write(json.dumps(row) + '\n')
        print(json.dumps(row), flush=True)
    return model


def finish(model: Scae, recipe: Recipe, budget: str, test: torch.Tensor, out: Path, device: torch.device) -> Checkpoint:
    """Measure the model in the precision that is stored, and write its checkpoint folder."""
    encoder = model.encoder
    encoder.pretrained_cfg = {**encoder.pretrained_cfg, 'tag': TAG, 'num_classes': 0}
    cfg = encoder.pretrained_cfg
    measured = {}
    for precision in ('float32', 'stored'):
        if precision == 'stored':
            round_as_stored(model)
        measured[precision] = denoising_psnr(model, test, EVALUATION_SIGMA, cfg['mean'], cfg['std'])
    result = measured['stored']
    log = [json.loads(line) for line in (out / 'log.jsonl').read_text().splitlines()]
    metrics = {
        'denoising_psnr': {'sigma': EVALUATION_SIGMA, 'clipped': True, 'seed': 0, **result._asdict()},
        'denoising_psnr_before_fp16_storage': measured['float32'].denoised,
        'training_mse': log[-1]['mse'],
        'training_seconds': round(sum(row['seconds'] for row in log)),
    }
    command = COMMAND.format(budget=budget)
    card = autoencoder_card(
        NAME, 'cifar10',
        'Denoising auto-encoder with symmetric shortcuts, trained on the 50,000 CIFAR-10 training images without '
        f'labels: {recipe.epochs} passes, random {recipe.crop} x {recipe.crop} crops, flips, Gaussian noise with sigma '
        f'drawn from {recipe.sigma[0]:g}-{recipe.sigma[1]:g} of 255 (`{budget}` budget, one seed).',
        [{'type': 'psnr', 'name': f'PSNR at sigma {EVALUATION_SIGMA}, mean over {result.images} test images (dB)',
          'value': round(result.denoised, 2)}],
        command,
    )
    return write(
        out / NAME, encoder, model.decoder, metrics=metrics, card=card,
        recipe={'command': command, 'budget': budget, **json.loads(json.dumps(dataclasses.asdict(recipe))),
                'training_images': 50_000 if budget != 'smoke' else SMOKE_IMAGES, **describe_environment(device)},
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--data-dir', type=Path, help='folder with train/ and test/; torchvision downloads without it')
    parser.add_argument('--out', type=Path, default=Path('runs/cifar10_autoencoder'),
                        help='folder of the run (default: %(default)s)')
    parser.add_argument('--budget', choices=BUDGETS, default='cpu', help='smoke: a few images, to try the script')
    parser.add_argument('--device', type=torch.device, default='cuda' if torch.cuda.is_available() else 'cpu')
    parser.add_argument('--compile', action='store_true',
                        help='torch.compile: about 15 %% faster on CPU, needs a C++ compiler')
    parser.add_argument('--ship', action='store_true', help="write the checkpoint into the package's weights as well")
    args = parser.parse_args()
    recipe = BUDGETS[args.budget]
    args.out.mkdir(parents=True, exist_ok=True)
    try:
        data = {split: load_split(args.data_dir, split) for split in ('train', 'test')}
    except ValueError as error:
        raise SystemExit(f'error: {error}') from None
    if args.budget == 'smoke':
        data = {split: images[:SMOKE_IMAGES] for split, images in data.items()}
    model = train(recipe, data['train'], args.out, args.device, args.compile)
    checkpoint = finish(model, recipe, args.budget, data['test'], args.out, args.device)
    print(f'{checkpoint.folder}: {json.dumps(checkpoint.metrics)}')
    if args.ship:
        shutil.copytree(checkpoint.folder, WEIGHTS / NAME, dirs_exist_ok=True)
        update_manifest()


if __name__ == '__main__':
    main()
