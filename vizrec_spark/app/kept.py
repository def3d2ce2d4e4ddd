"""A command that ends when the process that has started it does, however that ends.

``python -m vizrec_spark.app.kept COMMAND ...`` is ``vizrec COMMAND ...`` with a standard input that the other process
holds open and never writes to: it closes with that process, also where nobody could tell this one to stop.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time

from vizrec_spark.app.cli import main

_END_S = 90.0


def _end_with(descriptor: int) -> None:
    while os.read(descriptor, 1):
        pass
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(_END_S)
    os._exit(1)


if __name__ == "__main__":
    threading.Thread(target=_end_with, args=(sys.stdin.fileno(),), daemon=True).start()
    sys.exit(main())
