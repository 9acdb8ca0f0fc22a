"""The errors that end a command with one line."""


class CheckpointError(RuntimeError):
    """A checkpoint is missing, damaged, or not what was asked for; one line says which file, why, and what to do."""


class TrainingError(RuntimeError):
    """Training cannot start or go on; one line says why, what is kept, and what to do."""
