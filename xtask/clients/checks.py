"""What the Python scripts of this folder share: checks, areas, and the processes they start.

A script is started as `python SCRIPT HOST PORT` with a library as users install it. Its areas are functions that say
what they expect with `check`; one line is printed an area, and the exit status is 1 when one failed. Nothing here
knows which server it talks to: what is expected was seen on redis-server 7.0.
"""

import asyncio
import ctypes
import importlib.metadata
import os
import signal
import subprocess
import sys
import tempfile
import time
import traceback

# How long anything may take; machines that also build are slow.
PATIENCE_S = 60
COUNT = 0
FAILED = False


def server():
    """Gives host and port of the server under test."""
    return sys.argv[1], int(sys.argv[2])


def url(db=0):
    """Gives the address as libraries take it."""
    host, port = server()
    return f"redis://{host}:{port}/{db}"


def check(actual, expected):
    """Holds a value against what it has to be."""
    global COUNT
    COUNT += 1
    if actual != expected:
        raise AssertionError(f"{actual!r} is not {expected!r}")


def check_error(call, text, kind):
    """Holds an error that a call has to raise against the start of its text."""
    try:
        reply = call()
    except kind as error:
        check(str(error)[: len(text)], text)
    else:
        raise AssertionError(f"{reply!r} is no error")


def wait_until(done, pause_s=0.01):
    """Asks again and again until something is so, and gives what it was."""
    end = time.monotonic() + PATIENCE_S
    while not (found := done()):
        if time.monotonic() > end:
            raise AssertionError("it did not come to pass")
        time.sleep(pause_s)
    return found


def end_with_parent():
    """Has the kernel kill this process when the script is killed."""
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)


class Process:
    """A process beside the script, such as a worker; with its children it ends with the block, or when killed."""

    def __init__(self, *words, **environment):
        self.log = tempfile.TemporaryFile()
        env = {**os.environ, **environment}
        self.child = subprocess.Popen(
            words, env=env, stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log,
            start_new_session=True, preexec_fn=end_with_parent,
        )  # fmt: skip

    @classmethod
    def python(cls, *words, **environment):
        """Starts Python on a module or script; it finds the modules of this folder."""
        folder = os.path.dirname(os.path.abspath(__file__))
        return cls(sys.executable, "-W", "ignore", *words, PYTHONPATH=folder, **environment)

    def __enter__(self):
        return self

    def __exit__(self, kind, error, trace):
        if kind is not None:
            print(f"-- {self.child.args[3:]} said last:\n{self.text()[-3000:]}--")
        self.kill()

    def text(self):
        """Gives what it printed."""
        size = os.fstat(self.log.fileno()).st_size
        return os.pread(self.log.fileno(), size, 0).decode(errors="replace")

    def wait_for(self, text):
        """Waits until it printed something."""
        wait_until(lambda: text in self.text() or self.child.poll() is not None)
        if text not in self.text():
            raise AssertionError(f"it ended without saying {text!r}")
        return self

    def kill(self):
        """Kills it and its children as a crash would."""
        try:
            os.killpg(self.child.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self.child.wait()

    def stop(self):
        """Asks it to end, and gives its exit status."""
        self.child.terminate()
        return self.child.wait(PATIENCE_S)


def in_loop(work):
    """Turns a coroutine function that runs an area into what makes of an area one that `run` takes, with an event loop."""

    def prepared(area, *more):
        def named():
            asyncio.run(work(area, *more))

        named.__name__ = area.__name__
        return named

    return prepared


def run(package, areas, arguments=tuple, note=""):
    """Runs areas, each with what `arguments` gives."""
    label = f"{package} {importlib.metadata.version(package)} {note}".strip()
    for area in areas:
        run_area(label, area, arguments)


def run_area(label, area, arguments=tuple):
    """Runs one area and prints how it went."""
    global FAILED
    before, begin, word = COUNT, time.monotonic(), "ok"
    try:
        area(*arguments())
    except Exception:
        word, FAILED = "FAILED", True
        traceback.print_exc(file=sys.stdout)
    spent_ms = (time.monotonic() - begin) * 1_000
    name = area.__name__.replace("_", " ")
    print(f"{label}  {name:<28}{COUNT - before:>5} checks {spent_ms:>6.0f} ms  {word}", flush=True)


def finish():
    """Ends the script at once: some libraries leave threads behind that would wait for ever."""
    sys.stdout.flush()
    os._exit(FAILED)
