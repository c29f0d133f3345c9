"""Parts of scripts/sweep.py: command lines to jobs, one job's process, the folder of results, clusters, selection."""
