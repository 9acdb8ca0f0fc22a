"""lightly-train: pre-train our encoder by SimCLR, and keep it as a file that `scae finetune --from` takes."""

import os
import sys

import lightly_train
import timm
import torch
from safetensors.torch import save_file

import scae_zoo  # noqa: F401  (makes the encoders known to timm, where `timm/` finds them)

os.environ['LIGHTLY_TRAIN_EVENTS_DISABLED'] = '1'  # or it reports each run to its makers over the network

name = 'scae_springenberg9.dae_cifar10'
config = timm.get_pretrained_cfg(name)
lightly_train.pretrain(  # AGPL-3.0, unlike this package
    out='lightly', data=sys.argv[1], model=f'timm/{name}', model_args={'pretrained': True},  # False: random weights
    method='simclr', epochs=2, batch_size=16, num_workers=0, devices=1, transform_args={
        'image_size': config.input_size[1:], 'normalize': {'mean': config.mean, 'std': config.std}})
state = torch.load('lightly/exported_models/exported_last.pt', weights_only=True, map_location='cpu')
save_file(state, 'encoder.safetensors')
print('the network is in encoder.safetensors')
