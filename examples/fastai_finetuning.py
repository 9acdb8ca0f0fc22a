"""fastai: fine-tune our pre-trained encoder, and keep it as a file that `scae finetune --from` takes, too."""

import sys

from fastai.vision.all import ImageDataLoaders, Resize, accuracy, vision_learner
from safetensors.torch import save_model

import scae_zoo  # noqa: F401  (makes the encoders known to timm, where fastai finds them by name)

# a sub-folder a class; fastai normalises by the mean and std of the network's pretrained_cfg
loaders = ImageDataLoaders.from_folder(
    sys.argv[1], valid_pct=0.25, seed=0, item_tfms=Resize(32), bs=8, num_workers=0)
learner = vision_learner(loaders, 'scae_springenberg9.dae_cifar10', metrics=accuracy)
learner.fine_tune(2)
loss, share = learner.validate()
encoder = learner.model[0].model
save_model(encoder, 'encoder.safetensors')
print(f'{share:.0%} of the images that were held back; the network is in encoder.safetensors')
