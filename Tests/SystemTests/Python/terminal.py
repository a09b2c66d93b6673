"""kvctl at a terminal: a pseudo-terminal is its standard input and output, as for a person.

Usage: terminal.py KVCTL ENDPOINT. What is typed goes through the terminal's line discipline, so that
Ctrl-C reaches every process in the foreground, as it does when a person presses it.
"""

import os
import pty
import re
import select
import signal
import subprocess
import sys
import tempfile
import time

KVCTL, ENDPOINT = sys.argv[1:]
LIMIT_SECONDS = 20


def kvctl(*arguments):
    return subprocess.run(
        [KVCTL, "--endpoints", ENDPOINT, *arguments], capture_output=True, text=True, check=True
    ).stdout


class Terminal:
    def __init__(self, *arguments, **environment):
        self.seen = ""
        self.pid, self.master = pty.fork()
        if self.pid == 0:
            os.environ.update(environment)
            os.execv(KVCTL, [KVCTL, "--endpoints", ENDPOINT, *arguments])

    def read(self, seconds):
        if not select.select([self.master], [], [], seconds)[0]:
            return False
        try:
            piece = os.read(self.master, 65536)
        except OSError:  # The last one on the other side has gone.
            return False
        self.seen += piece.decode()
        return bool(piece)

    def wait_for(self, text):
        end = time.monotonic() + LIMIT_SECONDS
        while text not in self.seen:
            assert time.monotonic() < end, "no %r in %r" % (text, self.seen)
            self.read(0.1)

    def type(self, text):
        os.write(self.master, text.encode())

    def end(self):
        """The exit code as a shell tells it; the rest of the output is in `seen`."""
        end = time.monotonic() + LIMIT_SECONDS
        while True:
            self.read(0.05)
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                while self.read(0):
                    pass
                os.close(self.master)
                if os.WIFSIGNALED(status):
                    return 128 + os.WTERMSIG(status)
                return os.WEXITSTATUS(status)
            if time.monotonic() > end:
                os.kill(self.pid, signal.SIGKILL)
                raise AssertionError("it goes on: %r" % self.seen)


INTERRUPTED = 128 + signal.SIGINT
# Counts how often it is interrupted; ends half a second after the first time.
COUNTING = """
n=0
trap 'n=$((n+1))' INT
echo ready
while [ $n = 0 ]; do sleep 0.05; done
for i in 1 2 3 4 5 6 7 8 9 10; do sleep 0.05; done
echo interrupted $n
exit 5
"""

# A watch that only shows.
terminal = Terminal("watch", "app/", "--prefix")
while "PUT" not in terminal.seen:  # Nothing else shows that the watch stands.
    kvctl("put", "app/a", "1")
    terminal.read(0.1)
terminal.type("\x03")
assert terminal.end() == INTERRUPTED, terminal.seen

# A watch with a command: the terminal interrupts the command once, and kvctl ends behind it.
terminal = Terminal("watch", "app/", "--prefix", "--", "sh", "-c", COUNTING)
terminal.wait_for("ready")
terminal.type("\x03")
assert terminal.end() == INTERRUPTED, terminal.seen
assert "interrupted 1" in terminal.seen, terminal.seen
assert terminal.seen.count("ready") == 1, terminal.seen

# A watch whose command isn't running at the moment.
terminal = Terminal("watch", "app/", "--prefix", "--", "echo", "done")
terminal.wait_for("done")
terminal.type("\x03")
assert terminal.end() == INTERRUPTED, terminal.seen

# A snapshot: what it waits for is shown, and taken away again.
with tempfile.TemporaryDirectory() as folder:
    terminal = Terminal("snapshot", "save", folder + "/state")
    terminal.wait_for("waiting for %s" % ENDPOINT.split("//")[-1])
    assert terminal.end() == 0, terminal.seen
    assert terminal.seen.endswith("\r\x1b[KSnapshot saved at %s/state\r\n" % folder), terminal.seen

# A lease that is renewed.
lease = kvctl("lease", "grant", "60").split()[1]
terminal = Terminal("lease", "keep-alive", lease)
terminal.wait_for("keepalived with TTL(60)")
terminal.type("\x03")
assert terminal.end() == INTERRUPTED, terminal.seen
assert lease in kvctl("lease", "list")
kvctl("lease", "revoke", lease)

# A lease held for a command: the command decides how it ends, then the lease is revoked.
terminal = Terminal("lease", "run", "--ttl", "10", "--put", "svc/a=1", "--", "sh", "-c", COUNTING)
terminal.wait_for("ready")
assert kvctl("get", "svc/a") == "svc/a\n1\n"
terminal.type("\x03")
assert terminal.end() == 5, terminal.seen
assert "interrupted 1" in terminal.seen, terminal.seen
assert kvctl("get", "svc/", "--prefix") == ""
assert kvctl("lease", "list") == "found 0 leases\n"

# A transaction, asked for part by part.
terminal = Terminal("txn", "-i")
terminal.wait_for("compares:")
terminal.type('mod("txn/a") = "0"\n\n')
terminal.wait_for("success requests (get, put, del):")
terminal.type("put txn/a first\nget txn/a\n\n")
terminal.wait_for("failure requests (get, put, del):")
terminal.type("get txn/a\n\n")
assert terminal.end() == 0, terminal.seen
assert re.search(r"SUCCESS\s+OK\s+txn/a\s+first\s*$", terminal.seen), terminal.seen
terminal = Terminal("txn", "-i")
terminal.wait_for("compares:")
terminal.type("\x03")
assert terminal.end() == INTERRUPTED, terminal.seen

# The editor is a person's, at the same terminal.
with tempfile.TemporaryDirectory() as folder:

    def edit(script):
        editor = os.path.join(folder, "editor")
        with open(editor, "w") as file:
            file.write("#!/bin/sh\n" + script)
        os.chmod(editor, 0o700)
        terminal = Terminal("edit", "edit/a", EDITOR=editor, VISUAL="", TMPDIR=folder)
        code = terminal.end()
        drafts = [name for name in os.listdir(folder) if name != "editor"]
        return code, terminal.seen, drafts

    assert edit('test -t 1 && echo new > "$1"\n')[::2] == (0, [])
    assert kvctl("get", "edit/a", "--print-value-only") == "new\n"
    code, text, drafts = edit("exit 3\n")
    assert code == 1 and "nothing is saved" in text and drafts == [], (text, drafts)
    code, text, drafts = edit('echo half > "$1"\nexit 3\n')
    assert code == 1 and "nothing is saved" in text, text
    kept = re.search(r"your text is in (\S+)", text).group(1)
    assert open(kept).read() == "half\n" and len(drafts) == 1
    assert kvctl("get", "edit/a", "--print-value-only") == "new\n"

print("ok")
