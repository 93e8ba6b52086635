"""A repository on the Hugging Face hub, as a place to push to and pull from."""

from __future__ import annotations

import re
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, cast

from polygraft.errors import MissingExtraError, PolygraftError, StoreError
from polygraft.store.fields import shown
from polygraft.store.graft import MANIFEST, TENSORS
from polygraft.store.place import too_large, unreachable

if TYPE_CHECKING:
    from huggingface_hub import CommitOperationAdd

HUB = "hf://"
_WORD = r"[A-Za-z0-9][A-Za-z0-9_.-]*"
_ADDRESS = re.compile(
    rf"hf://(?P<repo>{_WORD}/{_WORD})(@(?P<revision>[A-Za-z0-9_.-]+))?(?P<folder>(/{_WORD})*)/?"
)


class HubFile(Protocol):
    """What the hub says about a file."""

    @property
    def path(self) -> str:
        """Where it is in the repository."""
        ...

    @property
    def size(self) -> int:
        """How many bytes it has."""
        ...


class HubApi(Protocol):
    """The four things that are asked of the hub, as `huggingface_hub.HfApi` does them."""

    def create_repo(self, repo_id: str, *, private: bool, exist_ok: bool) -> object:
        """Make a repository."""
        ...

    def create_commit(
        self,
        repo_id: str,
        operations: Sequence[CommitOperationAdd],
        *,
        commit_message: str,
        revision: str | None,
    ) -> object:
        """Add files in one commit."""
        ...

    def get_paths_info(self, repo_id: str, paths: list[str], *, revision: str | None) -> Sequence[HubFile]:
        """Describe those of some files that are there."""
        ...

    def hf_hub_download(self, repo_id: str, filename: str, *, revision: str | None) -> str:
        """Fetch a file and give its path on this machine."""
        ...


class HubPlace:
    """A repository, or a folder in one, on the Hugging Face hub.

    Args:
        address: `hf://user/repo`, with `@revision` and `/folder` if wanted.
        hub: What talks to the hub; its own library if nothing is given.

    Raises:
        StoreError: The address is not of that form.
    """

    def __init__(self, address: str, *, hub: HubApi | None = None) -> None:
        found = _ADDRESS.fullmatch(address)
        if not found or ".." in address:
            raise StoreError(
                f"{shown(address)} is no address on the Hugging Face hub. One like hf://user/repo, "
                "hf://user/repo/folder or hf://user/repo@revision was expected. Write it like that."
            )
        self.address = address.rstrip("/")
        self.repo: str = found["repo"]
        self.revision: str | None = found["revision"]
        self.folder: str = found["folder"].strip("/")
        self._hub = hub or _connect(address)

    def fetch(self, name: str, target: Path, *, limit: int) -> bool:
        """Copy a file from there if it has at most `limit` bytes; False if it is not there."""
        path = self._path(name)
        try:
            files = self._hub.get_paths_info(self.repo, [path], revision=self.revision)
            sizes = [file.size for file in files if file.path == path]
            if not sizes:
                return False
            if sizes[0] > limit:
                raise too_large(f"{self.address}/{name}", limit=limit)
            shutil.copyfile(self._hub.hf_hub_download(self.repo, path, revision=self.revision), target)
        except PolygraftError:
            raise
        except Exception as error:
            if _is_missing(error):
                return False
            raise unreachable(self.address, "read", error) from error
        return True

    def send(self, folder: Path) -> None:
        """Add a graft's files in one commit, in a repository that is made private if it is new."""
        from huggingface_hub import CommitOperationAdd

        try:
            self._hub.create_repo(self.repo, private=True, exist_ok=True)
            self._hub.create_commit(
                self.repo,
                [
                    CommitOperationAdd(path_in_repo=self._path(name), path_or_fileobj=folder / name)
                    for name in (TENSORS, MANIFEST)
                ],
                commit_message=f"Add the graft {folder.parent.name}, version {folder.name}",
                revision=self.revision,
            )
        except Exception as error:
            raise unreachable(self.address, "written", error) from error

    def _path(self, name: str) -> str:
        return f"{self.folder}/{name}" if self.folder else name


def _connect(address: str) -> HubApi:
    try:
        from huggingface_hub import HfApi
    except ImportError:
        raise MissingExtraError(
            f"The address '{address}' needs huggingface_hub, which is not installed. "
            "Folders work without it. Run `pip install huggingface_hub`."
        ) from None
    return cast("HubApi", HfApi())


def _is_missing(error: Exception) -> bool:
    from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError

    return isinstance(error, RepositoryNotFoundError) and not isinstance(error, GatedRepoError)
