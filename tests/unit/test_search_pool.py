"""Does a process that is lost cost one call, and no more?"""

import os
import signal
import time
from collections.abc import Iterator
from concurrent.futures import Executor, as_completed

import pytest

from simulator.errors import InputError
from simulator.search.pool import NoWorkerError, Pool, WorkerLostError, _Worker


def square(number: int) -> int:
    return number * number


def refuse(_: int) -> int:
    raise InputError("no such number")


def die(_: int) -> int:
    os.kill(os.getpid(), signal.SIGKILL)
    return 0


def leave(_: int) -> int:
    os._exit(3)


def hang(_: int) -> int:
    time.sleep(600)
    return 0


def eat(size: int) -> int:
    return len(bytearray(size))


@pytest.fixture(scope="module")
def pool() -> Iterator[Pool]:
    with Pool(2, time_limit_s=20, memory_limit_bytes=2**30) as made:
        yield made


def test_it_is_an_executor(pool: Pool) -> None:
    assert isinstance(pool, Executor)
    assert list(pool.map(square, range(20))) == [n * n for n in range(20)]


def test_an_interrupt_before_a_process_can_ignore_it() -> None:
    worker = _Worker(None, None)
    for _ in range(20):
        os.kill(worker.process.pid or 0, signal.SIGINT)
        time.sleep(0.005)
    worker.wait_until_ready()
    worker.kill()


def test_what_a_call_raises_is_raised(pool: Pool) -> None:
    with pytest.raises(InputError, match="no such number"):
        pool.submit(refuse, 1).result()


@pytest.mark.parametrize(
    ("function", "words"),
    [
        (die, "its process was ended by SIGKILL"),
        (leave, "its process ended with exit code 3"),
    ],
)
def test_a_process_that_dies_costs_its_own_call(pool: Pool, function: object, words: str) -> None:
    futures = [pool.submit(function if n == 3 else square, n) for n in range(8)]  # type: ignore[arg-type]
    assert len(list(as_completed(futures))) == 8
    with pytest.raises(WorkerLostError) as error:
        futures[3].result()
    assert str(error.value) == words
    assert [f.result() for n, f in enumerate(futures) if n != 3] == [0, 1, 4, 16, 25, 36, 49]


def test_a_call_that_hangs_is_ended() -> None:
    with Pool(1, time_limit_s=2) as pool:
        assert pool.submit(square, 3).result() == 9
        with pytest.raises(WorkerLostError, match="killed after 2 s, the time limit of a point"):
            pool.submit(hang, 0).result()
        assert pool.submit(square, 4).result() == 16


def test_memory_has_a_limit(pool: Pool) -> None:
    with pytest.raises(MemoryError):
        pool.submit(eat, 2**31).result()
    assert pool.submit(eat, 2**20).result() == 2**20


def test_a_shutdown_that_cancels_does_not_wait() -> None:
    pool = Pool(1)
    assert pool.submit(square, 2).result() == 4
    running, waiting = pool.submit(hang, 0), pool.submit(square, 1)
    while not running.running():
        time.sleep(0.01)
    began = time.monotonic()
    pool.shutdown(cancel_futures=True)
    assert time.monotonic() - began < 5
    assert waiting.cancelled()
    assert isinstance(running.exception(), WorkerLostError)
    with pytest.raises(RuntimeError, match="has been shut down"):
        pool.submit(square, 1)


def not_ready() -> None:
    raise ImportError


def test_processes_that_do_not_get_ready_are_no_fault_of_a_call() -> None:
    with Pool(1, prepare=not_ready) as pool, pytest.raises(NoWorkerError, match="exit code 1"):
        pool.submit(square, 1).result()


def never_ready() -> None:
    raise NoWorkerError("wrong machine")


def test_a_process_may_say_why_it_never_will_be_ready() -> None:
    with Pool(1, prepare=never_ready) as pool:
        for _ in range(2):
            with pytest.raises(NoWorkerError, match=r"^wrong machine$"):
                pool.submit(square, 1).result()


def test_the_time_to_get_ready_is_no_time_of_a_call() -> None:
    with Pool(1, time_limit_s=0.5, prepare=linger) as pool:
        assert pool.submit(square, 3).result() == 9


def linger() -> None:
    time.sleep(1)


def test_limits_that_are_none() -> None:
    with pytest.raises(InputError) as error:
        Pool(0, time_limit_s=-1.5, memory_limit_bytes=0)
    assert error.value.problems == (
        "workers must be above 0, got 0",
        "time_limit_s must be above 0, got -1.5",
        "memory_limit_bytes must be above 0, got 0",
    )
    with pytest.raises(InputError, match="time_limit_s must be above 0, got inf"):
        Pool(1, time_limit_s=float("inf"))
    with pytest.raises(InputError, match=r"memory_limit_bytes must be below 2\^60"):
        Pool(1, memory_limit_bytes=2**60)
