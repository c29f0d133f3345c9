"""Parts of scripts/bench.py: each prints its table and returns its numbers."""
