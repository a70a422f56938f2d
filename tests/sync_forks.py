"""A process that syncs in children of its own: `python sync_forks.py CATALOGUE FOLDER`. For each line on standard input it
starts one, kills it after so many seconds, and prints how it ended (as waitpid says it) and after how long."""

import os
import signal
import sys
import time
from pathlib import Path

from ptiffserve.catalogue.embedded import Embedded
from ptiffserve.config import Store
from ptiffserve.sync import apply
from ptiffserve.sync.run import sync


def main() -> None:
    apply.BATCH = 3
    for line in sys.stdin:
        started, pid = time.monotonic(), os.fork()
        if pid == 0:
            sync(Store(root=sys.argv[2], label="S"), Embedded(Path(sys.argv[1])))
            os._exit(0)
        if line != "never\n":
            time.sleep(float(line))
            os.kill(pid, signal.SIGKILL)  # nobody has waited for it: the pid is its own
        print(os.waitpid(pid, 0)[1], time.monotonic() - started, flush=True)


if __name__ == "__main__":
    main()
