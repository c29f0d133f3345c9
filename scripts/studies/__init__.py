"""Studies of this project, run by scripts/study.sh: command lines for the sweep, and tables made from their records."""
