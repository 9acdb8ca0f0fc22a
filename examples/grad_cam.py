"""Grad-CAM: where scae_vgg16 sees a person in a photograph; writes grad_cam.png."""

import numpy as np
import timm
from matplotlib.cbook import get_sample_data
from PIL import Image
from pytorch_grad_cam import GradCAM
from pytorch_grad_cam.utils.image import show_cam_on_image
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

import scae_zoo  # noqa: F401  (makes the encoders known to timm)

model = timm.create_model('scae_vgg16', pretrained=True).eval()
config = timm.data.resolve_data_config(model=model)
x = timm.data.create_transform(**config)(Image.open(get_sample_data('grace_hopper.jpg', asfileobj=False)))[None]
person = model.pretrained_cfg['label_names'].index('person')
with GradCAM(model, [model.blocks[-4]]) as cam:  # the last layer that is an eighth of the image's size
    heat = cam(x, [ClassifierOutputTarget(person)])[0]
pixels = x[0].permute(1, 2, 0).numpy() * config['std'] + config['mean']
Image.fromarray(show_cam_on_image(pixels.clip(0, 1).astype(np.float32), heat, use_rgb=True)).save('grad_cam.png')
print(f'person: {model(x).sigmoid()[0, person]:.0%}, drawn in grad_cam.png')
