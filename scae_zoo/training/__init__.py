"""The training engine: batches, augmentation, the loop, the folder of a run, what a run writes."""
