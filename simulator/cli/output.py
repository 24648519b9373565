"""What commands write: text or one JSON object on stdout, words for people on stderr."""

import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import typer

from simulator.errors import CheckError, InfeasibleError, InputError, NibblesimError


def show(text: str) -> None:
    """Print text on stdout."""
    typer.echo(text)


def warn(text: str) -> None:
    """Print a line on stderr."""
    typer.echo(text, err=True)


def show_json(content: Mapping[str, Any]) -> None:
    """Print one JSON object on stdout; infinity and NaN have no place in it."""
    typer.echo(json.dumps(content, indent=1, allow_nan=False))


def failure(state: str, problems: Sequence[str]) -> dict[str, Any]:
    """Return the JSON object of a command that failed."""
    return {"state": state, "problems": list(problems)}


def show_error(error: NibblesimError, *, as_json: bool) -> None:
    """Print the message on stderr and, with `as_json`, the error as JSON on stdout."""
    warn(str(error))
    if not as_json:
        return
    match error:
        case InfeasibleError():
            show_json(error.report())
        case InputError():
            show_json(failure("INPUT_ERROR", error.problems))
        case CheckError():
            show_json(failure("CHECK_FAILED", str(error).splitlines()))
        case _:
            show_json(failure("FAILED", str(error).splitlines()))


@contextmanager
def progress(
    count: int, doing: str = "simulating", what: str = "segments"
) -> Iterator[Callable[[], object] | None]:
    """Yield what to call after each of `count`: a bar on a terminal, None in a pipe."""
    if not sys.stderr.isatty():
        yield None
        return
    from tqdm import tqdm

    with tqdm(total=count, desc=doing, unit=f" {what}", delay=1, leave=False) as bar:
        yield bar.update
