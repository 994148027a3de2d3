"""The service's child processes: none outlives the service, however it ends."""

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1  # prctl(2)


def die_with_parent(parent: int) -> None:
    """Have the kernel end this process when its parent ends, even by SIGKILL. Linux only; elsewhere this does nothing.

    Args:
        parent: the parent's process id. If it has ended already, the kernel would never tell: then this process ends at once.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
        if os.getppid() != parent:
            os._exit(0)
