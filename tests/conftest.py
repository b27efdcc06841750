"""What all tests share."""

import atexit
import os

# Runs after all else: DuckDB's binding complains of leaks on standard error when a worker ends.
atexit.register(lambda: os.dup2(os.open(os.devnull, os.O_WRONLY), 2))
