"""What the steps of a run share: the base, the store, the data, and the grafts made so far."""

from __future__ import annotations

import dataclasses
import platform
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import TYPE_CHECKING

from polygraft.attach.graft import Graft, rebuild_graft
from polygraft.errors import RecipeError, StoreError
from polygraft.recipe.caching import open_cache
from polygraft.train.processes import Processes, join_processes

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor

    from polygraft.base.base import Base
    from polygraft.recipe.corpus import Corpus
    from polygraft.recipe.schema import Recipe
    from polygraft.recipe.steps import Job
    from polygraft.store.manifest import Manifest
    from polygraft.store.store import Store
    from polygraft.train.prefix import PrefixCache

PACKAGES = ("polygraft", "torch", "transformers", "tokenizers")
MLM = "mlm"


def list_versions() -> dict[str, str]:
    """List the versions of what computes."""
    return {**{name: version(name) for name in PACKAGES}, "python": platform.python_version()}


def point_back(store: Store, manifest: Manifest, *, maker: str) -> str | None:
    """Make a graft's name mean a version that is in the store already; gives a sentence where it meant another.

    Args:
        store: Where the graft is.
        manifest: The version's manifest.
        maker: What made that version: "recipe" or "command".
    """
    name, latest = manifest.name, store.latest(manifest.name)
    if latest == manifest.version:
        return None
    store.point(name, manifest.version)
    return (
        f"The name '{name}' now means version {manifest.version}, which this {maker} made; it meant version {latest}, "
        "which stays in the store."
    )


def put_once(
    store: Store, manifest: Manifest, tensors: Mapping[str, Tensor], *, processes: Processes
) -> Manifest:
    """Store a graft once for all processes, and give its manifest in each.

    Args:
        store: A folder that all of them see.
        manifest: What the graft is; it names the step that made it.
        tensors: Its values.
        processes: Which process this is.
    """
    stored = store.put(manifest, tensors) if processes.launch.is_first else None
    processes.wait()
    if stored is not None:
        return stored
    found = store.find_step(manifest.step or "", name=manifest.name)
    if found is None:
        raise StoreError(
            f"The graft '{manifest.name}' was stored by the first of {processes.launch.count} processes, and another "
            f"does not find it in {store.folder}. Expected all of them to see one folder. Give a store on a file "
            "system that all machines share."
        )
    return found[0]


@dataclass(kw_only=True)
class Workshop:
    """Everything that the steps of one run use."""

    recipe: Recipe
    base: Base
    store: Store
    corpus: Corpus
    should_stop: Callable[[], bool]
    grafts: dict[str, Graft] = field(default_factory=dict)
    """Grafts made or found so far, by name."""
    manifests: dict[str, Manifest] = field(default_factory=dict)
    """Their manifests in the store."""
    num_bytes_stored: int = 0
    """Of the tensors of all grafts that this run put into the store so far."""
    caches: dict[str, PrefixCache] = field(default_factory=dict)
    """Outputs of frozen layers by the digest of the task's data: at most one at a time."""
    sentences: list[str] = field(default_factory=list)
    """What a user should know and was not told yet."""

    def __post_init__(self) -> None:
        """Join the processes that run the recipe with this one."""
        self.processes = join_processes(self.base.device)

    def tell_all(self) -> list[str]:
        """Give the sentences that were not told yet, once."""
        told = list(self.sentences)
        self.sentences.clear()
        return told

    def find(self, digest: str, name: str) -> bool:
        """Take a graft that an earlier run stored, if there is one; nothing is written."""
        found = self.store.find_step(digest, name=name)
        if found is None:
            return False
        graft = rebuild_graft(self.base, *found, folder=self.store.find_folder(found[0]))
        graft.name = name
        self.grafts[name], self.manifests[name] = graft, found[0]
        return True

    def release(self) -> None:
        """Let go of the grafts' values: those that are needed again are read from the store."""
        self.grafts.clear()

    def settle_names(self) -> None:
        """Make the store's names mean the grafts that were found there, and say where that changes one."""
        for name, manifest in list(self.manifests.items()):
            if manifest.name != name:
                # Made under another name: plans of this recipe name it by this one.
                copy = dataclasses.replace(manifest, name=name, version=0)
                graft = self.get(name)
                graft.manifest = self.manifests[name] = self.store.put(copy, graft.tensors())
                continue
            sentence = point_back(self.store, manifest, maker="recipe")
            if sentence is not None:
                self.sentences.append(sentence)

    def get(self, name: str) -> Graft:
        """Give a graft that a later step needs.

        Raises:
            RecipeError: It was not made yet.
        """
        if name not in self.grafts and name in self.manifests:
            manifest = self.manifests[name]
            found = self.store.get(manifest.name, version=manifest.version)
            self.grafts[name] = rebuild_graft(self.base, *found, folder=self.store.find_folder(found[0]))
            self.grafts[name].name = name
        if name not in self.grafts:
            raise RecipeError(
                f"A step needs the graft '{name}', which was not trained yet. Expected it in the store "
                f"'{self.recipe.store}'. Run the recipe without --only, or with the step that makes it."
            )
        return self.grafts[name]

    def share_cache(self, data: Path) -> PrefixCache | None:
        """Give what keeps the output of frozen layers for the trainings on a task's data, as the recipe wants it.

        Trainings on the same data share one; that of other data is let go.

        Args:
            data: The labelled file that is learned from.
        """
        settings, digest = self.recipe.train.task, self.corpus.digest(data)
        if digest not in self.caches:
            self.let_go_of_caches([])
            cache = open_cache(
                settings.cache,
                gib=settings.cache_gib,
                folder=self.recipe.folder / "checkpoints",
                has_dropout=settings.dropout,
            )
            if cache is None:
                return None
            self.caches[digest] = cache
        return self.caches[digest]

    def let_go_of_caches(self, coming: Iterable[Job]) -> None:
        """Free the memory and files of what no coming step trains on.

        Args:
            coming: The steps that are still to be done.
        """
        tasks = [self.recipe.tasks[job.task] for job in coming if job.kind == "task" and job.task is not None]
        needed = {self.corpus.digest(task.train) for task in tasks}
        self.caches = {digest: cache for digest, cache in self.caches.items() if digest in needed}

    def find_members(self, names: Iterable[str]) -> list[Manifest]:
        """Give the manifests of those grafts among some that are in the store."""
        return [self.manifests[name] for name in names if name in self.manifests]

    def put(self, manifest: Manifest, graft: Graft) -> Manifest:
        """Store a trained graft, and give its manifest as it is in the store."""
        stored = put_once(self.store, manifest, graft.tensors(), processes=self.processes)
        self.num_bytes_stored += stored.num_bytes
        return stored

    def keep(self, graft: Graft, manifest: Manifest) -> Manifest:
        """Store a trained graft for the steps that come, and give its manifest as it is in the store."""
        stored = self.put(manifest, graft)
        graft.manifest = stored
        self.grafts[graft.name], self.manifests[graft.name] = graft, stored
        return stored


def describe_machine(base: Base) -> dict[str, str | int | float | bool | None]:
    """Say what the run ran on; no names of machines or users."""
    import torch

    return {
        "system": f"{platform.system()} {platform.machine()}",
        "processor": str(torch.cpu.get_capabilities().get("cpu_name", platform.processor() or "unknown")),
        "threads": torch.get_num_threads(),
        "device": str(base.device),
        "dtype": base.dtype,
        "python": sys.version.split()[0],
    }
