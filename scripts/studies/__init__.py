"""Studies of this project, run by scripts/study.sh: command lines for the sweep, and what is made of their records."""
