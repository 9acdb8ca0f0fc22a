"""ONNX Runtime: the class of a photograph, by what `scae export scae_allconv15 --normalize -o model.onnx` writes."""

import json
import sys

import numpy as np
import onnxruntime
from PIL import Image

session = onnxruntime.InferenceSession(sys.argv[1], providers=['CPUExecutionProvider'])
said = session.get_modelmeta().custom_metadata_map  # classes, mean, std and more, as JSON
crop = json.loads(said['crop'])  # the side of the images that it was trained on; any other will do
photograph = Image.open(sys.argv[2]).convert('RGB').resize((crop, crop), Image.Resampling.BICUBIC)
image = np.asarray(photograph, np.float32).transpose(2, 0, 1)[None] / 255  # N x 3 x H x W, 0 to 1
logits, = session.run(['logits'], {'image': image})
print(f'{json.loads(said["classes"])[logits[0].argmax()]}: {sys.argv[2]}')
