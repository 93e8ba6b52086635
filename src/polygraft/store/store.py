"""A folder of grafts: every change is whole or did not happen."""

from __future__ import annotations

import os
from collections.abc import Generator, Iterable, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import datetime
from pathlib import Path

from torch import Tensor

from polygraft.errors import NotInStoreError, StoreError, nearest
from polygraft.store.commands import say_store
from polygraft.store.files import (
    LEFTOVER,
    check_folder,
    delete,
    leftover,
    link_file,
    list_folders,
    locked,
    sync_folder,
)
from polygraft.store.graft import TENSORS, read_graft, read_manifest, write_graft, write_manifest
from polygraft.store.manifest import Manifest, check_name, is_name
from polygraft.store.versions import (
    check_versions,
    find_free_version,
    is_version,
    list_versions,
    read_latest,
    say_versions,
    write_latest,
)


class Store:
    """A folder of grafts, each with its versions.

    Writers take turns; readers never wait. A version is written beside the others under a name
    that no reader looks at, and gets its own name when the disk has all of it. What a killed
    writer leaves behind, the next one removes.

    Args:
        folder: The folder; it is made by the first `put`.

    Example:
        >>> Store("no-such-folder").names()
        []
    """

    def __init__(self, folder: Path | str) -> None:
        self.folder = Path(folder)

    def put(self, manifest: Manifest, tensors: Mapping[str, Tensor]) -> Manifest:
        """Add a graft as the next version of its name.

        Args:
            manifest: What the graft is; its version, counts, digest and tensors are filled in.
            tensors: Its numbers, on any device.

        Raises:
            StoreError: Something in it cannot be stored, or the folder cannot be written.
        """
        name = check_name(manifest.name)
        with self._changing(create=True):
            self._check_case(name)
            folder = self.folder / name
            unfinished = leftover(self.folder)
            try:
                version = find_free_version(folder)
                full = write_graft(unfinished, replace(manifest, version=version), tensors)
                if not os.path.lexists(folder):
                    folder.mkdir()
                    sync_folder(self.folder)
                check_folder(folder)
                unfinished.rename(folder / str(version))
                sync_folder(folder)
            finally:
                delete(unfinished)
            self._point(folder, version)
        return full

    def prepare(self, names: Iterable[str]) -> None:
        """Make the folder, and raise a StoreError before hours of work where it would not take these names."""
        with self._changing(create=True):
            for name in names:
                self._check_case(check_name(name))

    def get(self, name: str, *, version: int | None = None) -> tuple[Manifest, dict[str, Tensor]]:
        """Read a graft, the latest version if none is named, everything checked.

        Raises:
            NotInStoreError: The store does not hold it.
            StoreError: It is damaged; the sentence says how.
        """
        with self._reading(name, version) as folder:
            manifest, tensors = read_graft(folder)
            self._check_identity(manifest, folder)
        return manifest, tensors

    def manifest(self, name: str, *, version: int | None = None) -> Manifest:
        """Read what a graft is, without its numbers.

        Raises:
            NotInStoreError: The store does not hold it.
            StoreError: The manifest is damaged.
        """
        with self._reading(name, version) as folder:
            manifest = read_manifest(folder)
            self._check_identity(manifest, folder)
        return manifest

    def verify(self, name: str, *, version: int | None = None) -> Manifest:
        """Check all of a graft and give its manifest.

        Raises:
            NotInStoreError: The store does not hold it.
            StoreError: It is damaged; the sentence says how.
        """
        return self.get(name, version=version)[0]

    def check_is_folder(self, *, must_exist: bool) -> None:
        """Make sure that the store is a folder, or is not there yet.

        Args:
            must_exist: Whether it has to be there.

        Raises:
            StoreError: Something else is in its place, or it has to be there and is not.
        """
        if self.folder.is_dir():
            return
        if os.path.lexists(self.folder):
            raise StoreError(
                f"The store {self.folder} is no folder. A folder of grafts was expected. Name the folder that "
                "holds them, as with --store, or remove what is in its place."
            )
        if must_exist:
            raise StoreError(
                f"The store {self.folder} is not there. A folder of grafts was expected. Check the path, or "
                "name another with --store; `polygraft quickstart` and `polygraft run` make a store."
            )

    def say_listing(self, num: int) -> str:
        """Say which command lists the store; it names the folder unless that is the usual one."""
        return f"`polygraft grafts list{say_store(self.folder)}` shows all {num}."

    def find_folder(self, manifest: Manifest) -> Path:
        """Give the folder of the graft that a manifest of this store is about."""
        return self.folder / manifest.name / str(manifest.version)

    def names(self) -> list[str]:
        """Give the names of all grafts, sorted, also of those that cannot be read."""
        return [name for name in self._candidates() if self._may_hold(name)]

    def versions(self, name: str) -> list[int]:
        """Give a graft's versions, oldest first.

        Raises:
            NotInStoreError: The store does not hold the graft.
            StoreError: Its folder cannot be read.
        """
        with self._explaining(check_name(name)):
            check_versions(self.folder / name)
        found = self._versions(name)
        if not found:
            raise self._not_here(name)
        return found

    def latest(self, name: str) -> int:
        """Give the version that is read when none is named.

        Raises:
            NotInStoreError: The store does not hold the graft.
            StoreError: What the name means cannot be read, or is not there.
        """
        found = self.versions(name)
        with self._explaining(name):
            return read_latest(self.folder / name, found)

    def point(self, name: str, version: int) -> None:
        """Make a version the one that is read when none is named.

        Raises:
            NotInStoreError: The store does not hold it.
            StoreError: The folder cannot be written.
        """
        check_name(name)
        with self._changing():
            found = self.versions(name)
            if version not in found:
                raise self._no_version(name, version, found)
            self._point(self.folder / name, version)

    def find_step(self, digest: str, *, name: str | None = None) -> tuple[Manifest, dict[str, Tensor]] | None:
        """Read the newest whole graft that a recipe's step made, or nothing.

        A damaged graft does not count, so that the step is done again.

        Args:
            digest: The digest of the step.
            name: The name that is wanted; a graft of that name comes before newer ones of other names.
        """
        found = [manifest for manifest in self._list_readable() if manifest.step == digest]
        for manifest in sorted(found, key=lambda item: (item.name == name, _age(item)), reverse=True):
            with suppress(StoreError):
                return self.get(manifest.name, version=manifest.version)
        return None

    def remove(self, name: str, *, version: int | None = None) -> list[int]:
        """Remove one version of a graft, or all of them, and give those removed.

        The name goes on to mean what it meant; only where that version goes does it mean the newest that stays.

        Raises:
            NotInStoreError: The store does not hold it.
            StoreError: The folder cannot be written.
        """
        check_name(name)
        with self._changing():
            found = self.versions(name)
            if version is not None and version not in found:
                raise self._no_version(name, version, found)
            going = found if version is None else [version]
            staying = [item for item in found if item not in going]
            folder = self.folder / name
            check_folder(folder)
            if staying and self._means(name) in (None, *going):
                self._point(folder, staying[-1])
            unfinished = leftover(self.folder)
            (folder / str(going[0]) if staying else folder).rename(unfinished)
            sync_folder(folder if staying else self.folder)
            delete(unfinished)
        return going

    def rename(self, old: str, new: str) -> None:
        """Give a graft, with all its versions, another name.

        Grafts that were trained beside it keep the name it had then, and its digest.

        Raises:
            NotInStoreError: The store does not hold the old name.
            StoreError: The new name is taken, or a version is damaged.
        """
        check_name(old)
        check_name(new)
        with self._changing():
            found, latest = self.versions(old), self.latest(old)
            if self._versions(new):
                raise StoreError(
                    f"The graft '{old}' cannot be renamed to '{new}': the store {self.folder} holds a graft "
                    "of that name. A free name was expected. Choose another, or remove that graft first."
                )
            self._check_case(new)
            unfinished = leftover(self.folder)
            try:
                unfinished.mkdir()
                for version in found:
                    manifest = self.verify(old, version=version)
                    source, target = self.folder / old / str(version), unfinished / str(version)
                    target.mkdir()
                    link_file(source / TENSORS, target / TENSORS)
                    write_manifest(target, replace(manifest, name=new))
                self._point(unfinished, latest)
                unfinished.rename(self.folder / new)
                sync_folder(self.folder)
            finally:
                delete(unfinished)
            gone = leftover(self.folder)
            (self.folder / old).rename(gone)
            sync_folder(self.folder)
            delete(gone)

    @contextmanager
    def _changing(self, *, create: bool = False) -> Generator[None]:
        try:
            if create and not self.folder.is_dir():
                self.folder.mkdir(parents=True, exist_ok=True)
                sync_folder(self.folder.parent)
            if not self.folder.is_dir():
                yield
                return
            with locked(self.folder):
                for path in self.folder.iterdir():
                    if path.name.startswith(LEFTOVER):
                        delete(path)
                yield
        except OSError as error:
            raise StoreError(
                f"The store {self.folder} cannot be changed: {error.strerror or error}. "
                "A folder with room that may be written was expected. Make room or choose another folder."
            ) from error

    @contextmanager
    def _reading(self, name: str, version: int | None) -> Generator[Path]:
        check_name(name)
        try:
            with self._explaining(name):
                check_folder(self.folder / name)
                number = self.latest(name) if version is None else version
                folder = self.folder / name / str(number)
                if not is_version(str(number)):
                    raise self._no_version(name, number, self.versions(name))
                check_folder(folder)
                yield folder
        except FileNotFoundError:
            found = self._versions(name)
            if version is None or not found:
                raise self._not_here(name) from None
            raise self._no_version(name, version, found) from None

    @contextmanager
    def _explaining(self, name: str) -> Generator[None]:
        try:
            yield
        except FileNotFoundError:
            raise
        except OSError as error:
            raise StoreError(
                f"The graft '{name}' in the store {self.folder} cannot be read: {error.strerror or error}. "
                "Files that may be read were expected. Change their permissions, or put the graft in again."
            ) from error

    def _point(self, folder: Path, version: int) -> None:
        write_latest(folder, version, unfinished=leftover(self.folder))

    def _candidates(self) -> list[str]:
        return sorted(name for name in list_folders(self.folder) if is_name(name))

    def _versions(self, name: str) -> list[int]:
        with self._explaining(name):
            return list_versions(self.folder / name)

    def _may_hold(self, name: str) -> bool:
        try:
            return bool(self._versions(name))
        except StoreError:
            # Whoever asks for it gets the sentence.
            return True

    def _list_readable(self) -> Generator[Manifest]:
        """Give the manifests of all versions of all grafts, as far as they can be read."""
        for name in self._candidates():
            with suppress(StoreError):
                for version in self._versions(name):
                    with suppress(StoreError):
                        yield self.manifest(name, version=version)

    def _means(self, name: str) -> int | None:
        try:
            return self.latest(name)
        except StoreError:
            return None

    def _check_identity(self, manifest: Manifest, folder: Path) -> None:
        name, version = folder.parent.name, int(folder.name)
        if (manifest.name, manifest.version) != (name, version):
            raise StoreError(
                f"{folder} holds version {manifest.version} of '{manifest.name}', where version {version} of "
                f"'{name}' was expected. The folder was moved by hand. Move it back, or use "
                "`polygraft grafts rename`."
            )

    def _check_case(self, name: str) -> None:
        for other in self._candidates():
            if other != name and other.casefold() == name.casefold():
                raise StoreError(
                    f"The store {self.folder} holds the graft '{other}', which differs from '{name}' in "
                    "capital letters only. Some file systems take both for one. Choose another name."
                )

    def _not_here(self, name: str) -> NotInStoreError:
        names = self.names()
        listed = self.say_listing(len(names)) if names else "The store is empty."
        return NotInStoreError(
            f"The store {self.folder} holds no graft '{name}'.{nearest(name, names)} {listed}"
        )

    def _no_version(self, name: str, version: int, found: list[int]) -> NotInStoreError:
        return NotInStoreError(
            f"The store {self.folder} holds no version {version} of the graft '{name}'. "
            f"It holds {say_versions(found)}. Ask for one of these."
        )


def _age(manifest: Manifest) -> tuple[datetime, int]:
    return datetime.fromisoformat(manifest.created), manifest.version
