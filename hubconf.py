"""Entry points for ``torch.hub.load(REPOSITORY, 'springenberg9_scae')``."""

from scae_zoo.hub import entry_points as _entry_points  # torch.hub lists what has no underscore

dependencies = ['torch', 'torchvision', 'timm', 'safetensors', 'huggingface_hub', 'yaml']

springenberg9_scae, springenberg9_scae_encoder, springenberg9_scae_segmenter = _entry_points('scae_springenberg9')
allconv15_scae, allconv15_scae_encoder, allconv15_scae_segmenter = _entry_points('scae_allconv15')
swwae_scae, swwae_scae_encoder, swwae_scae_segmenter = _entry_points('scae_swwae')
vgg16_scae, vgg16_scae_encoder, vgg16_scae_segmenter = _entry_points('scae_vgg16')
