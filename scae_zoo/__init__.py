"""Convolutional denoising auto-encoders with symmetric shortcuts (Dong et al., ICASSP 2018) for timm and torch.hub.

Importing this package registers the encoders with timm.
"""

from .corruption import BlockMask, GaussianNoise, parse_corruption
from .errors import CheckpointError
from .factory import create_autoencoder, create_segmenter
from .inference.strips import reconstruct
from .models import scae as _scae  # registers the encoders  # noqa: F401
from .models.autoencoder import Scae
from .models.scae import ScaeEncoder
from .models.segmenter import ScaeSegmenter
from .version import __version__

__all__ = [
    'BlockMask',
    'CheckpointError',
    'GaussianNoise',
    'Scae',
    'ScaeEncoder',
    'ScaeSegmenter',
    '__version__',
    'create_autoencoder',
    'create_segmenter',
    'parse_corruption',
    'reconstruct',
]
