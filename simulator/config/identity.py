"""Which nibblesim this is: a version alone does not tell what was edited since."""

from functools import lru_cache
from hashlib import blake2b
from itertools import chain
from pathlib import Path

from simulator.config.loading import data_root


@lru_cache(maxsize=4)
def code_hash(*aside: str) -> str:
    """Return 16 hex digits that depend on the code and the data files of this nibblesim.

    As they were on disk when it was first asked for. aside: folders of the package whose code does
    not count.
    """
    package = Path(__file__).resolve().parents[1]
    root = data_root()
    # What was packaged as data has experiments too.
    aside = (*aside, "_data")
    code = (
        path for path in package.rglob("*.py") if path.relative_to(package).parts[0] not in aside
    )
    files = chain(code, *((root / each).rglob("*.yaml") for each in ("hw_configs", "workloads")))
    digest = blake2b(digest_size=8)
    for name, path in sorted((path.relative_to(path.parents[1]), path) for path in files):
        # Editors mark a file in use by a link that leads nowhere.
        if path.is_file():
            digest.update(f"{name}\n".encode() + path.read_bytes())
    return digest.hexdigest()
