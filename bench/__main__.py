"""`python -m bench COMMAND`."""

from handler.cli import start

if __name__ == "__main__":
    start("bench.commands", "bench")
