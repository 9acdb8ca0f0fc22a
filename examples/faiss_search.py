"""FAISS: the photographs most alike, from what `scae embed photos/ --model MODEL -o features.npz` writes."""

import sys

import faiss
import numpy as np

with np.load(sys.argv[1] if len(sys.argv) > 1 else 'features.npz') as file:
    features = file['features']  # a row a photograph, float32
    names = [name.decode() for name in file['files']]
features = (features - features.mean(0)) / features.std(0).clip(1e-6)  # what sets each apart from the others
faiss.normalize_L2(features)  # then the inner product is the cosine of the angle
index = faiss.IndexFlatIP(features.shape[1])
index.add(features)
cosines, neighbours = index.search(features, 2)  # of each photograph itself, and the nearest other one
for name, (_, cosine), (_, other) in zip(names, cosines, neighbours, strict=True):
    print(f'{cosine:.4f}  {name}  {names[other]}')
