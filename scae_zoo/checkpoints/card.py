"""The README of a checkpoint's folder: its model card."""

from collections.abc import Mapping, Sequence
from typing import Any

import yaml

# task, pipeline and tags in the Hub's terms, and the lines that use a checkpoint of this kind from its folder: these
# work for a user's own as for the zoo's, wherever the folder lies
_KINDS = {
    'autoencoder': (
        'image-to-image', 'image-feature-extraction', ['autoencoder', 'denoising', 'self-supervised-learning'], '''\
autoencoder = scae_zoo.create_autoencoder('{architecture}', weights='{name}').eval()  # encoder and decoder
encoder = timm.create_model('local-dir:{name}', pretrained=True).eval()  # the encoder, as a timm model'''),
    'classifier': (
        'image-classification', 'image-classification', [], '''\
classifier = timm.create_model('local-dir:{name}', pretrained=True).eval()
features = timm.create_model('local-dir:{name}', pretrained=True, num_classes=0).eval()  # pooled'''),
    'segmenter': (
        'image-segmentation', 'image-segmentation', [], '''\
segmenter = scae_zoo.create_segmenter(
    '{architecture}', pretrained=True, weights='{name}').eval()  # logits at the image's size'''),
}


def model_card(
        name: str,
        architecture: str,
        kind: str,
        *,
        summary: str = '',
        dataset: str = '',
        test_dataset: str = '',
        figures: Sequence[Mapping[str, Any]] = (),
        command: str = '',
) -> str:
    """The card, with the metadata block that the Hugging Face Hub reads; what is not known is left out.

    Args:
        name: The checkpoint's, ``<architecture>.<tag>`` or a folder's.
        architecture: That.
        kind: 'autoencoder', 'classifier' or 'segmenter'.
        summary: One or two sentences on how it was made.
        dataset: What it was trained on, in the Hub's terms, such as ``cifar10``.
        test_dataset: What the figures were measured on, likewise.
        figures: The model-index metrics, each with ``type``, ``name`` and ``value``.
        command: The command that makes it again.
    """
    task, pipeline, tags, usage = _KINDS[kind]
    metadata: dict[str, Any] = {'library_name': 'timm', 'license': 'apache-2.0'}
    if dataset:
        metadata['datasets'] = [dataset]
    metadata |= {'pipeline_tag': pipeline, 'tags': ['timm', *tags]}
    if figures:  # the Hub refuses an index without any
        metadata['model-index'] = [{
            'name': name,
            'results': [{
                'task': {'type': task},
                'dataset': {'type': test_dataset or 'images', 'name': test_dataset or 'images'},
                'metrics': [dict(figure) for figure in figures],
            }],
        }]
    rows = ''.join(f'| {figure["name"]} | {figure["value"]} |\n' for figure in figures)
    table = f'| figure | value |\n| --- | --- |\n{rows}\n' * bool(figures)
    made_by = (f'\nMade by `{command}`; `recipe.yaml` has every hyper-parameter, `metrics.json` the measured figures.\n'
               * bool(command))
    return f"""---
{yaml.safe_dump(metadata, sort_keys=False).strip()}
---
# {name}

{summary or f'Of the architecture {architecture}.'} Paper: [Dong et al., ICASSP 2018](https://arxiv.org/abs/1611.09119).

{table}From the folder above this one (for a checkpoint of the zoo, its name alone does instead of the folder):

```python
import timm, scae_zoo

{usage.format(name=name, architecture=architecture)}
```
{made_by}"""
