"""One SQLite file that is ours: opened, written in transactions, and its faults put in words.

The log is written ahead (WAL) with synchronous=NORMAL: what is committed is in the hands of the
operating system, so that `kill -9` loses none of it. A machine that loses power may lose the last
commits, never the file, and those points are computed again; FULL would flush the disk at every
commit for that alone. Left out: network file systems, where SQLite's locks do not hold.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from os import W_OK, access, supports_effective_ids
from pathlib import Path
from time import monotonic, sleep

from simulator.errors import InputError
from simulator.results import prepare_folder

#: "nibl": where SQLite files say whose they are.
APPLICATION_ID = 0x6E69626C
_CACHE_KIB = 65_536
#: Blocks are some 400 KB: pages of SQLite's usual 4 KiB take twice the time to write.
_PAGE_BYTES = 16_384


class Database:
    """A connection to a file, for the thread that opened it.

    read_only: the file must be there and no point of it changes. timeout_s: how long a lock of
    another process is waited for.
    """

    def __init__(self, path: Path, *, read_only: bool, timeout_s: float) -> None:
        """Open the file; its folder is made if absent.

        Raises:
            InputError: it cannot be opened, or it is not ours.
        """
        self.path = path
        self._timeout_s = timeout_s
        uri = _uri_to_read(path) if read_only else _uri_to_write(path)
        with self.explained():
            self.connection = sqlite3.connect(
                uri, uri=True, timeout=timeout_s, isolation_level=None
            )
        try:
            with self.explained():
                self._prepare(read_only=read_only)
        except BaseException:
            self.connection.close()
            raise

    def close(self) -> None:
        """Close the connection."""
        self.connection.close()

    def count(self) -> int:
        """Return how many points the study has."""
        both = "SELECT COUNT(*) FROM points UNION ALL SELECT TOTAL(count) FROM blocks"
        return sum(int(count) for (count,) in self.connection.execute(both))

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Give the connection for a change that is made whole or not at all.

        Raises:
            InputError: in words, what SQLite refuses.
        """
        with self.explained():
            self.connection.execute("BEGIN IMMEDIATE")
            try:
                yield self.connection
                self.connection.execute("COMMIT")
            except BaseException:
                if self.connection.in_transaction:
                    self.connection.execute("ROLLBACK")
                raise

    @contextmanager
    def explained(self) -> Iterator[None]:
        """Turn what SQLite reports of the file into an InputError; faults of ours pass."""
        try:
            yield
        except sqlite3.Error as error:
            if words := self._words(error):
                raise InputError(words) from None
            raise

    def _prepare(self, *, read_only: bool) -> None:
        run = self.connection.execute
        run("PRAGMA trusted_schema=OFF")  # a file from somebody else
        # In this order: another process may begin the study in between, which marks it as ours.
        begun = run("SELECT 1 FROM sqlite_schema").fetchone()
        if begun and run("PRAGMA application_id").fetchone() != (APPLICATION_ID,):
            raise InputError(f"'{self.path}' is not a study: it is a database of another program")
        if read_only:
            # And not mode=ro: who may not write does not take the files of the log away at the end.
            run("PRAGMA query_only=ON")
        else:
            run(f"PRAGMA page_size={_PAGE_BYTES}")  # of a new file
            self._write_ahead()
            run("PRAGMA synchronous=NORMAL")
            run(f"PRAGMA cache_size=-{_CACHE_KIB}")  # for keys looked up; who reads does so once

    def _write_ahead(self) -> None:
        """Turn the log on; of those that do so at once SQLite lets one and does not wait itself."""
        end = monotonic() + self._timeout_s
        while True:
            try:
                self.connection.execute("PRAGMA journal_mode=WAL")
                return
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or monotonic() > end:
                    raise
            sleep(0.01)

    def _words(self, error: sqlite3.Error) -> str:
        """Return what a fault of the file means and what to do, "" for other faults."""
        path = self.path
        # The low byte is the kind of fault; the module's own errors have no code.
        match getattr(error, "sqlite_errorcode", 0) & 0xFF:
            case sqlite3.SQLITE_BUSY | sqlite3.SQLITE_LOCKED:
                return (
                    f"'{path}' is locked: another process has been writing to it for "
                    f"{self._timeout_s:g} s, another run of this study or a program that shows "
                    "databases; let it end, then run the same command again"
                )
            case sqlite3.SQLITE_FULL:
                return (
                    f"cannot write to '{path}': the disk is full; what was stored before is kept"
                    f"{self._kept()}; make room, then run the same command again"
                )
            case sqlite3.SQLITE_NOTADB:
                return f"'{path}' is not a study: it is not a SQLite database"
            case sqlite3.SQLITE_CORRUPT:
                return (
                    f"'{path}' is damaged or truncated ({error}); what can be saved of it: "
                    f"sqlite3 '{path}' .recover"
                )
            case sqlite3.SQLITE_READONLY:
                return f"cannot write to '{path}': Permission denied"
            case sqlite3.SQLITE_CANTOPEN | sqlite3.SQLITE_IOERR | sqlite3.SQLITE_PERM:
                return f"cannot open, read or write '{path}': {error} ({error.sqlite_errorname})"
            case _:
                return ""

    def _kept(self) -> str:
        with suppress(sqlite3.Error):
            return f" ({self.count()} points)"
        return ""


def _uri_to_write(path: Path) -> str:
    prepare_folder(path.parent)
    if path.is_dir():
        raise InputError(f"cannot write to '{path}': it is a folder, not a file")
    return f"{path.absolute().as_uri()}?mode=rwc"


def _uri_to_read(path: Path) -> str:
    """Return the address; where no file can be made, SQLite must be told that nobody writes."""
    try:
        with path.open("rb"):
            pass
    except OSError as error:
        raise InputError(f"cannot read '{path}': {error.strerror}") from None
    alone = (
        not access(path.parent, W_OK, effective_ids=access in supports_effective_ids)
        and not Path(f"{path}-wal").exists()
    )
    return f"{path.absolute().as_uri()}?mode={'ro&immutable=1' if alone else 'rw'}"
