"""All benchmarks, one after the other: `python -m loadtest`."""

from loadtest import ingest, replay, sqs_source

if __name__ == "__main__":
    ingest.main()
    sqs_source.main()
    replay.main()
