"""Packages that only some files need."""

from __future__ import annotations

from importlib.util import find_spec

from polygraft.errors import MissingExtraError


def need(package: str, *, extra: str, source: str) -> None:
    """Refuse to read what needs a package that is not installed.

    Args:
        package: The package.
        extra: The extra of polygraft that brings it.
        source: What is to be read.

    Raises:
        MissingExtraError: It is not installed.
    """
    if find_spec(package) is None:
        raise MissingExtraError(
            f"{source} cannot be read without the package {package}, which is not installed. Expected it beside "
            f"polygraft. Install it: pip install 'polygraft[{extra}]'"
        )
