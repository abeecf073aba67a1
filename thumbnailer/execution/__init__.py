"""Where decoding runs: memory budget, threads, child processes."""
