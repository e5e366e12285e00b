"""What happened: immutable records of runs, tasks and attempts, one writer per file."""
