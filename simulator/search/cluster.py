"""Workers of a dask.distributed cluster behind the interface of `concurrent.futures`.

A worker that is lost, killed or at the end of its job, costs the time of its points: the scheduler
hands them to other workers. A point that was with as many lost workers as the scheduler allows
(four by default) is given up, as it may be what ends them; its future has a `WorkerLostError`.
Without the scheduler nothing goes on: all futures have a `NoWorkerError`, as they have where a
worker runs another nibblesim than the client. Workers may come and go all the time; where none is
left, calls wait for the next.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from concurrent.futures import wait as until_done
from contextlib import suppress
from functools import lru_cache, partial
from threading import Lock
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from simulator.config import code_hash
from simulator.errors import InputError
from simulator.search.pool import NoWorkerError, WorkerLostError

if TYPE_CHECKING:
    from distributed import Client
    from distributed import Future as Theirs

P = ParamSpec("P")
T = TypeVar("T")
#: How long a scheduler may take to answer.
ANSWER_S = 10.0
#: How long the first worker may take to come.
START_S = 120.0
#: How long the scheduler may take to say farewell.
CLOSE_S = 5.0
#: Calls for workers that have not come yet.
LEAST_AHEAD = 64
_ONE_AT_A_TIME = Lock()


class Cluster(Executor):
    """The workers of the scheduler at an address, `host:port` or `tcp://host:port`.

    prepare: what a worker does before its first call, such as imports. Raises InputError where
    dask.distributed is not installed, for what is no address, and where no scheduler answers;
    NoWorkerError where no worker comes, or one runs another nibblesim.
    """

    def __init__(self, address: str, *, prepare: Callable[[], object] | None = None) -> None:
        """Connect to the scheduler, and wait for the first worker."""
        self._client = _connected(address)
        self._address = address
        self._prepare = prepare
        self._code = code_hash()
        # Theirs are kept, because dask forgets what nobody holds.
        self._running: dict[Future[Any], Theirs] = {}
        try:
            self._check_workers()
        except BaseException:
            self._close()
            raise

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Have a function called by a worker; its arguments and result are pickled on the way."""
        ours: Future[T] = Future()
        ours.set_running_or_notify_cancel()
        try:
            theirs = self._client.submit(
                _call, self._code, self._prepare, fn, args, kwargs, pure=False
            )
        except Exception as error:
            raise self._lost(error) from error
        self._running[ours] = theirs
        theirs.add_done_callback(partial(self._hand_over, ours))
        return ours

    @property
    def ahead(self) -> int:
        """Calls that keep all workers busy, those that are to come included."""
        threads: dict[str, int] = self._client.nthreads()
        return max(LEAST_AHEAD, 2 * sum(threads.values()))

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Take no more calls; with `cancel_futures`, what has not begun is not begun."""
        if wait and not cancel_futures:
            until_done(list(self._running))
        self._close()

    def _close(self) -> None:
        # Where the scheduler is gone there is nobody to part from.
        with suppress(Exception):
            self._client.cancel(list(self._running.values()))
        with suppress(Exception):
            self._client.close(CLOSE_S)

    def _check_workers(self) -> None:
        """Refuse workers that could give other results; those that come later are asked then."""
        try:
            self._client.wait_for_workers(1, timeout=START_S)
        except TimeoutError:
            raise NoWorkerError(
                f"no worker has come to the scheduler at {self._address} in {START_S:g} s"
            ) from None
        # The scheduler, too, unpickles calls.
        try:
            self._client.run_on_scheduler(code_hash)
        except Exception as error:  # noqa: BLE001 - whatever its fault is
            raise NoWorkerError(
                f"the scheduler at {self._address} has no nibblesim: {error}"
            ) from None
        found = self._client.run(code_hash, on_error="return")
        for worker, code in sorted(found.items()):
            if isinstance(code, Exception):
                raise NoWorkerError(f"worker {worker} has no nibblesim: {code}")
            if code != self._code:
                raise NoWorkerError(_other_code(worker))

    def _hand_over(self, ours: Future[T], theirs: "Theirs") -> None:
        """Give what has come of a call to whoever waits for it."""
        from distributed import KilledWorker

        try:
            fine, value = theirs.result()
        except KilledWorker as error:
            lost = error.allowed_failures + 1
            last = error.last_worker.address
            words = f"{lost} workers that had it were lost, the last one {last}"
            ours.set_exception(WorkerLostError(words))
        except NoWorkerError as error:
            ours.set_exception(error)
        except BaseException as error:  # noqa: BLE001 - whoever waits for the call gets it
            ours.set_exception(self._lost(error))
        else:
            if fine:
                ours.set_result(value)
            else:
                ours.set_exception(value)
        del self._running[ours]

    def _lost(self, error: BaseException) -> NoWorkerError:
        why = " ".join(f"{type(error).__name__}: {error}".split())
        return NoWorkerError(
            f"the cluster at {self._address} does not go on ({why}); what has ended is kept"
        )


def _call(
    code: str,
    prepare: Callable[[], object] | None,
    function: Callable[..., Any],
    arguments: tuple[Any, ...],
    named: dict[str, Any],
) -> tuple[bool, Any]:
    """Return whether a call was fine, and what it returned or raised.

    What this raises itself is a fault of the worker, not of the call.
    """
    from distributed import get_worker

    if code_hash() != code:
        raise NoWorkerError(_other_code(get_worker().address))
    # A worker may have several threads; a simulation takes all that it has to itself.
    with _ONE_AT_A_TIME:
        if prepare is not None:
            _prepared(prepare)
        try:
            return True, function(*arguments, **named)
        except Exception as error:  # noqa: BLE001 - whoever asked gets it
            return False, error


@lru_cache(maxsize=1)
def _prepared(prepare: Callable[[], object]) -> None:
    prepare()


def _other_code(worker: str) -> str:
    return (
        f"worker {worker} runs another nibblesim, its code or data files differ; install the "
        "same on all"
    )


def _connected(address: str) -> "Client":
    """Return a client of the scheduler; InputError in words where there is none."""
    try:
        from distributed import Client, Security, connect
    except ImportError:
        raise InputError(
            "a cluster needs dask.distributed: pip install 'nibblesim[cluster]'"
        ) from None

    async def reach() -> None:
        options = Security().get_connection_args("client")
        # The time limit of `connect` itself is not one of a server that never says a word.
        async with asyncio.timeout(ANSWER_S + 1):
            comm = await connect(address, timeout=ANSWER_S, **options)
        await comm.close()

    # A client that cannot connect would wait and complain once more when it is forgotten. In a
    # thread, because a notebook has a loop of its own in this one.
    try:
        with ThreadPoolExecutor(1) as aside:
            aside.submit(asyncio.run, reach()).result()
        return Client(address, timeout=ANSWER_S, set_as_default=False)
    except ValueError as error:
        raise InputError(
            f"'{address}' is no address of a scheduler, such as tcp://host:8786: {error}"
        ) from None
    except OSError:
        # Its last attempt may be refused or still wait: the reason would be of chance.
        raise InputError(
            f"no scheduler answers at {address} in {ANSWER_S:g} s; see that it runs, and that this "
            "is the address that it prints"
        ) from None
