"""Published tables, filled from the records of runs."""
