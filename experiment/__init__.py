"""A run as main.py lives it: its stream, its evaluations, its training, and the checkpoints that it can go on from."""
