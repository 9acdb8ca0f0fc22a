"""How the tests of training call the commands."""

from pathlib import Path

from scae_zoo.cli import main

SMALL = ['--epochs', '1', '--batch-size', '8', '--device', 'cpu']


def run(*args: str | Path) -> int:
    return main([str(arg) for arg in args])
