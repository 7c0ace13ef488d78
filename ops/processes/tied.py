"""Run a command that can't outlive what started it: `python tied.py PARENT_PID COMMAND...`.

Linux sends the signal when the *thread* that started the command ends, so start servers from a thread that stays.
Elsewhere the command runs untied. The process id stays the command's own: this script becomes the command.
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def main() -> None:
    if sys.argv[1:2] in ([], ["-h"], ["--help"]):
        print("usage: python tied.py PARENT_PID COMMAND...", __doc__, sep="\n\n")
        return
    parent_pid, command = int(sys.argv[1]), sys.argv[2:]
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent_pid:  # the parent ended before the line above could see it
            sys.exit(1)
    os.execvp(command[0], command)  # noqa: S606 - there is no shell, and that is the point


if __name__ == "__main__":
    main()
