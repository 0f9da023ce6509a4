"""What a process was given, as JSON on its standard output; it ends with the exit code it was asked for."""

import atexit
import json
import os
import sys
import threading
import time
from pathlib import Path

from trustml.processes import is_offline

held = os.open(sys.argv[2], os.O_RDONLY)  # whatever is open, the same file is
links = [os.path.realpath(f"/proc/self/fd/{number}") for number in os.listdir("/proc/self/fd")]
told = {
    "name": __name__,
    "arguments": sys.argv[1:],
    "folder": os.getcwd(),
    "variables": dict(os.environ),
    "parent": os.getppid(),
    "leads": [os.getpgrp() == os.getpid(), os.getsid(0) == os.getpid()],
    "held": links.count(os.path.realpath(sys.argv[2])) - 1,
    "read": sys.stdin.read(),
    "offline": is_offline(),
    "networks": [line.partition(":")[0].strip() for line in Path("/proc/self/net/dev").read_text().splitlines()[2:]],
}
print(json.dumps(told))
print("an error", file=sys.stderr)
atexit.register(print, "an end", file=sys.stderr)
threading.Thread(target=lambda: time.sleep(0.1) or print("a thread", file=sys.stderr)).start()
sys.exit(int(sys.argv[1]))
