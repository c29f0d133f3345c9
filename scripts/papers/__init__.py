"""The papers' tables: their numbers, our runs that belong to each, and the script part that makes the runs."""
