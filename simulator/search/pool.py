"""Worker processes behind the interface of `concurrent.futures`, any of which may be lost.

`ProcessPoolExecutor` breaks as a whole when one of its processes dies, and does not say which call
that had. Here a process has one call at a time: one that dies, or is killed for the time that a
call takes, costs that call alone. Its future has a `WorkerLostError`, and a new process takes its
place.
Functions and their arguments go to processes of this program only.
"""

import os
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future
from contextlib import contextmanager
from dataclasses import dataclass
from math import inf
from multiprocessing import get_context, parent_process, resource_tracker
from multiprocessing.connection import Connection, wait
from queue import SimpleQueue
from threading import Thread
from typing import Any, ParamSpec, TypeVar

from simulator.errors import InputError, NibblesimError

P = ParamSpec("P")
T = TypeVar("T")
#: How long a process may take to be ready.
START_S = 120.0
#: Limits of memory that the system takes are below this.
MOST_BYTES = 2**60


class WorkerLostError(NibblesimError):
    """The process of a call died, or was killed for its time; the message says which."""


class NoWorkerError(NibblesimError):
    """No process can be started; what it has to do makes no difference."""


@dataclass(frozen=True)
class _Call:
    future: Future[Any]
    function: Callable[..., Any]
    arguments: tuple[Any, ...]
    named: dict[str, Any]


class Pool(Executor):
    """Processes that are started when they are needed.

    time_limit_s: of a call; memory_limit_bytes: of a process, beyond which it has a MemoryError.
    prepare: what a process does before it is ready, such as imports; its time is no call's. By a
    NoWorkerError it says that it never will be.
    Raises InputError for limits and numbers of workers that are not above 0, or endless.
    """

    def __init__(
        self,
        workers: int,
        *,
        time_limit_s: float | None = None,
        memory_limit_bytes: int | None = None,
        prepare: Callable[[], object] | None = None,
    ) -> None:
        """Start threads, each of which will have a process."""
        given = {
            "workers": workers,
            "time_limit_s": time_limit_s,
            "memory_limit_bytes": memory_limit_bytes,
        }
        problems = [
            f"{name} must be above 0, got {value}"
            for name, value in given.items()
            if value is not None and not 0 < value < inf
        ]
        if not problems and (memory_limit_bytes or 0) >= MOST_BYTES:
            problems = [f"memory_limit_bytes must be below 2^60, got {memory_limit_bytes}"]
        if problems:
            raise InputError(problems)
        #: Calls that keep all processes busy: each has one, and one more waits for it.
        self.ahead = 2 * workers
        self._time_limit_s = time_limit_s
        self._memory_limit_bytes = memory_limit_bytes
        self._prepare = prepare
        self._calls: SimpleQueue[_Call | None] = SimpleQueue()
        self._ended = self._cancelled = False
        self._workers: list[_Worker | None] = [None] * workers
        self._threads = [
            Thread(target=self._serve, args=(place,), daemon=True) for place in range(workers)
        ]
        for thread in self._threads:
            thread.start()

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Have a function called in a process; its arguments and result are pickled on the way."""
        if self._ended:
            raise RuntimeError("the pool has been shut down")
        future: Future[T] = Future()
        self._calls.put(_Call(future, fn, args, kwargs))
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Take no more calls; with `cancel_futures`, processes are killed and calls are over."""
        self._ended = True
        if cancel_futures:
            self._cancelled = True
            while not self._calls.empty():
                call = self._calls.get()
                if call is not None:
                    call.future.cancel()
            for worker in self._workers:
                if worker is not None:
                    worker.kill()
        for _ in self._threads:
            self._calls.put(None)
        if wait:
            for thread in self._threads:
                thread.join()

    def _serve(self, place: int) -> None:
        """Hand one call after the other to the process of a thread."""
        while (call := self._calls.get()) is not None:
            if not call.future.set_running_or_notify_cancel():
                continue
            try:
                worker = self._workers[place]
                if worker is None:
                    worker = _Worker(self._memory_limit_bytes, self._prepare)
                    self._workers[place] = worker
                    if self._cancelled:
                        # It was started while `shutdown` killed the others.
                        worker.kill()
                    worker.wait_until_ready()
                call.future.set_result(worker.call(call, self._time_limit_s))
            except (WorkerLostError, NoWorkerError) as error:
                self._workers[place] = None
                call.future.set_exception(error)
            except BaseException as error:  # noqa: BLE001 - whoever waits for the call gets it
                call.future.set_exception(error)
        worker = self._workers[place]
        if worker is not None:
            worker.kill()


class _Worker:
    """One process and the way to it."""

    def __init__(
        self, memory_limit_bytes: int | None, prepare: Callable[[], object] | None
    ) -> None:
        context = get_context("spawn")
        self._way, other = context.Pipe()
        given = other, memory_limit_bytes, prepare
        self.process = context.Process(target=_work, args=given, daemon=True)
        try:
            with _interrupts_wait():
                self.process.start()
        except (OSError, RuntimeError) as error:
            raise NoWorkerError(f"no process can be started: {error}") from error
        other.close()

    def wait_until_ready(self) -> None:
        """Wait until the process takes calls; NoWorkerError where it does not get so far."""
        try:
            ready = wait([self._way, self.process.sentinel], START_S) and self._way.recv()
        except (EOFError, OSError):
            ready = False
        if isinstance(ready, NoWorkerError):
            self.kill()
            raise ready
        if not ready:
            self.process.join(5)
            self.kill()
            raise NoWorkerError(
                f"a process did not get ready, {_how_it_ended(self.process.exitcode)}; a script "
                'needs if __name__ == "__main__", and --memory-limit room for what is imported'
            )

    def call(self, call: _Call, time_limit_s: float | None) -> Any:
        """Return what a call returns, or raise what it raises; WorkerLostError without either."""
        try:
            self._way.send((call.function, call.arguments, call.named))
            if not wait([self._way, self.process.sentinel], time_limit_s):
                self.kill()
                raise WorkerLostError(f"killed after {time_limit_s:g} s, the time limit of a point")
            fine, value = self._way.recv()
        except (EOFError, OSError):
            self.process.join(5)
            self.kill()
            raise WorkerLostError(_how_it_ended(self.process.exitcode)) from None
        if fine:
            return value
        raise value

    def kill(self) -> None:
        """End the process at once."""
        self.process.kill()
        self.process.join()


def _how_it_ended(exit_code: int | None) -> str:
    if exit_code is not None and exit_code < 0:
        return f"its process was ended by {signal.Signals(-exit_code).name}"
    return f"its process ended with exit code {exit_code}"


def _end_with_parent() -> None:
    """End this process when the one that started it has ended, whatever it does then."""
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


@contextmanager
def _interrupts_wait() -> Iterator[None]:
    """Hold Ctrl-C back, here until after, and for good in a process that is started meanwhile.

    Such a process would tell of it with a traceback before it gets so far as to ignore it.
    """
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    # Where it is started by the way, it lets Ctrl-C through again.
    resource_tracker.ensure_running()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _work(
    way: Connection, memory_limit_bytes: int | None, prepare: Callable[[], object] | None
) -> None:
    """Do one call after the other until the other end is closed."""
    # Ctrl-C goes to all processes of a terminal; the one that the user waits for ends the others.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    Thread(target=_end_with_parent, daemon=True).start()
    if prepare is not None:
        try:
            prepare()
        except NoWorkerError as error:
            way.send(error)
            return
    if memory_limit_bytes is not None:
        import resource

        resource.setrlimit(resource.RLIMIT_DATA, (memory_limit_bytes, memory_limit_bytes))
    way.send(True)
    while True:
        try:
            function, arguments, named = way.recv()
        except EOFError:
            return
        try:
            answer = True, function(*arguments, **named)
        except Exception as error:  # noqa: BLE001 - whoever asked gets it
            answer = False, error
        try:
            way.send(answer)
        except BrokenPipeError:
            return
