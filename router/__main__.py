"""The command line's entry: `crossbus`, or `python -m router`."""

from router.cli.app import app


def main() -> None:
    """Run the command that the arguments name."""
    app()


if __name__ == "__main__":
    main()
