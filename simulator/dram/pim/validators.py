"""What parts of several devices are asked alike."""

from collections.abc import Iterable, Mapping


def levels_in_order(levels: dict[str, int], names: tuple[str, ...]) -> dict[str, int]:
    """Return levels that have just these names, in order; raises ValueError for others."""
    if tuple(levels) != names:
        raise ValueError(f"must be {', '.join(names)}, got {', '.join(levels) or 'none'}")
    return levels


def one_of_each(roles: Mapping[str, str], needed: Iterable[str]) -> list[str]:
    """Return the roles that not just one command has, in words; roles: of commands by name."""
    problems = []
    for role in needed:
        found = [name for name, each in roles.items() if each == role]
        if len(found) != 1:
            listed = ", ".join(found) or "none"
            problems.append(f"needs one command of role '{role}', got {listed}")
    return problems
