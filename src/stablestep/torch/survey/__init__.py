"""What a model and its batches say of constants, largest steps and links, measured in one process."""
