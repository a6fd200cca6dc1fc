"""A worker that reads what it is given and never answers."""

import sys
import threading

if __name__ == "__main__":
    while sys.stdin.buffer.read(4096):
        pass
    threading.Event().wait()
