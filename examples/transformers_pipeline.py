"""transformers: its pipeline names the class of a photograph, by the folder of a checkpoint that ships."""

import sys
from pathlib import Path

from transformers import pipeline

import scae_zoo  # makes the encoders known to timm, which transformers asks for them

folder = Path(scae_zoo.__file__).parent / 'weights' / 'scae_springenberg9.dae_ft_cifar10'
classify = pipeline('image-classification', model=str(folder))
for found in classify(sys.argv[1], top_k=3):
    print(f'{found["score"]:.1%}  {found["label"]}')
