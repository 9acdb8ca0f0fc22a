"""The ``scae`` command as it is installed. It stands beside the package, whose own module takes seconds to import since
it registers the encoders with timm: what needs no network, such as ``scae list``, starts without it."""

import importlib.util
import sys


def main() -> int:
    """Run ``scae``; returns the exit status."""
    if 'scae_zoo' not in sys.modules:
        spec = importlib.util.find_spec('scae_zoo')
        assert spec is not None
        sys.modules['scae_zoo'] = importlib.util.module_from_spec(spec)  # found, not executed: its parts do without
    from scae_zoo.cli import main as run
    return run()
