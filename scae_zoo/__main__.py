"""``python -m scae_zoo``: the ``scae`` command."""

import sys

from .cli import main

sys.exit(main())
