"""What train.py calls, and runs started by others: command line, run folder, jobs, folds."""
