"""All benchmarks, one after the other: `python -m loadtest`."""

from loadtest import ingest

if __name__ == "__main__":
    ingest.main()
