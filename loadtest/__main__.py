"""The goals, measured: `python -m loadtest`; see `loadtest.suite`."""

from loadtest.suite import main

if __name__ == "__main__":
    main()
