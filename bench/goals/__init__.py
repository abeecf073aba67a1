"""The goals of speed, memory, price and likeness, each judged by numbers of one run."""
