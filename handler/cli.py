"""The console script: `thumbnailer COMMAND`."""

import sys
from importlib import import_module


def main() -> None:
    start("handler.commands", "cli,demo,deploy")


def start(module: str, extras: str) -> None:
    """Runs `main` of a module. A missing package ends with a sentence and exit code 2."""
    try:
        import_module(module).main()
    except ModuleNotFoundError as error:
        package = str(error.name).partition(".")[0]
        hint = f"pip install '.[{extras}]' in Thumbnailer's folder installs it"
        print(f"The package {package} is missing: {hint}.", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
