"""Ctrl-C: the command says how to go on, and has ended soon after, whatever it is waiting for.

Python handles a signal between two of its own instructions, and a process waits for its threads; a computation or a
server that does not answer could hold up both. So a thread hears of Ctrl-C from the system itself, gives the command a
second to end by itself, and then ends the process. That loses no more than a kill would: whatever is written appears
whole or not at all, and the same command resumes from there.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from types import FrameType, TracebackType
from typing import Self

SECONDS = 1.0
"""How long a command may take to end by itself."""
EXIT_CODE = 128 + signal.SIGINT
SHOW_CURSOR = "\x1b[?25h"


class Interruptible:
    """A command that Ctrl-C ends: `with Interruptible(sentence): ...`, where the sentence says how to go on.

    Leaves signals alone where somebody else handles them: in a thread, or in a job that ignores Ctrl-C.
    """

    def __init__(self, sentence: Callable[[], str]) -> None:
        self._sentence = sentence
        self._interrupted, self._over = threading.Event(), threading.Event()
        self._said = threading.Lock()
        self._signals: socket.socket | None = None
        self._process = os.getpid()

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread() and (
            signal.getsignal(signal.SIGINT) is signal.default_int_handler
        ):
            self._signals, end = socket.socketpair()
            self._signals.setblocking(False)
            threading.Thread(target=self._watch, args=(end,), daemon=True).start()
            signal.set_wakeup_fd(self._signals.fileno(), warn_on_full_buffer=False)
            signal.signal(signal.SIGINT, self._handle)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        ended = error is not None and (self._interrupted.is_set() or isinstance(error, KeyboardInterrupt))
        if self._signals is not None:
            signal.set_wakeup_fd(-1)
            if ended:  # another Ctrl-C must not interrupt what follows
                signal.signal(signal.SIGINT, signal.SIG_IGN)
        self._over.set()
        if ended:
            if self._said.acquire(blocking=False):
                print(self._sentence(), file=sys.stderr)
            threading.Thread(target=self._end_after_the_main_thread, daemon=True).start()
            raise SystemExit(EXIT_CODE) from None
        if self._signals is not None:
            signal.signal(signal.SIGINT, signal.default_int_handler)
            self._signals.close()

    def _handle(self, _number: int, _frame: FrameType | None) -> None:
        """Interrupts the command once: a second Ctrl-C must not interrupt its ending.

        A terminal sends the signal to the worker processes too, some of which have just been forked: they end in
        silence, for the command speaks for all of them.
        """
        if os.getpid() != self._process:
            os._exit(EXIT_CODE)
        if threading.main_thread().is_alive() and not self._interrupted.is_set():
            self._interrupted.set()
            raise KeyboardInterrupt

    def _watch(self, signals: socket.socket) -> None:
        """Waits for Ctrl-C, unless another handler has taken it over, as that of the review page does."""
        with signals:
            while arrived := signals.recv(1):
                if arrived[0] == signal.SIGINT and signal.getsignal(signal.SIGINT) == self._handle:
                    if not self._over.wait(SECONDS):
                        self._end()
                    return

    def _end_after_the_main_thread(self) -> None:
        """The main thread has a second to be done, and then the others have one too."""
        patience = time.monotonic() + SECONDS
        while threading.main_thread().is_alive() and time.monotonic() < patience:
            time.sleep(0.02)
        time.sleep(SECONDS)
        self._end()

    def _end(self) -> None:
        """Ends the process. Prints past Python's buffers, whose locks the command may hold."""
        if self._said.acquire(blocking=False):
            start = f"\r{SHOW_CURSOR}" if sys.stderr.isatty() else ""
            with suppress(OSError):
                os.write(2, f"{start}{self._sentence()}\n".encode())
        for worker in multiprocessing.active_children():
            worker.kill()
        flushing = threading.Thread(target=sys.stdout.flush, daemon=True)  # a pipe that nobody reads holds it up
        flushing.start()
        flushing.join(0.1)
        os._exit(EXIT_CODE)
