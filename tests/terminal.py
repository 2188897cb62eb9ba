#!/usr/bin/env python3
"""terminal.py in|out COMMAND... - runs COMMAND with a terminal as its standard input or output.

What it prints on the terminal goes to standard output. Ends with its exit status, 128 + n for
a signal; 124 if it has not ended after 20 seconds, which reading from the terminal would do.
"""
import os
import pty
import subprocess
import sys
import threading

side, command = sys.argv[1], sys.argv[2:]
master, slave = pty.openpty()
streams = {"stdin": slave} if side == "in" else {"stdout": slave}
process = subprocess.Popen(command, **streams)
os.close(slave)


def drain():
    try:
        while data := os.read(master, 65536):
            os.write(1, data)
    except OSError:  # EIO: nobody holds the other side any more
        pass


reader = threading.Thread(target=drain)
if side == "out":
    reader.start()
try:
    status = process.wait(20)
except subprocess.TimeoutExpired:
    process.kill()
    process.wait()
    status = 124
if side == "out":
    reader.join()
sys.exit(128 - status if status < 0 else status)
