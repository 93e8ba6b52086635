"""Finds the grafts that a plan names, in memory or in a store, each once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from polygraft.attach.graft import Graft, check_made_for, check_sizes, rebuild_graft
from polygraft.attach.plan import Average, Named, Plan, list_names
from polygraft.attach.weights import check_weights
from polygraft.errors import PlanError, StoreError, nearest
from polygraft.parts.edit import EditLayers

if TYPE_CHECKING:
    from polygraft.base.base import Base
    from polygraft.store.store import Store


class Finder:
    """Gives the grafts of one plan by their names; ways that share a graft or an average share its tensors.

    Args:
        base: The base that they are to meet.
        plan: The plan, for messages.
        grafts: Those in memory, which come before the store's: by what a plan writes, such as `ner` or `ner@2`, or as
            `index_grafts` takes them. An average of parameters may be among them by what the plan writes of it.
        store: Where the others are.
        any_base: Whether to accept grafts of another base.

    Raises:
        PlanError: Two of the grafts in memory cannot be told apart.
    """

    def __init__(
        self,
        base: Base,
        plan: Plan,
        grafts: Mapping[str, Graft] | Sequence[Graft],
        store: Store | None,
        *,
        any_base: bool,
    ) -> None:
        self.base = base
        self.plan = plan
        self.memory = grafts if isinstance(grafts, Mapping) else index_grafts(grafts)
        self.store = store
        self.any_base = any_base
        self.found: dict[Named, Graft] = {}
        self.averages: dict[str, Graft] = {}

    def find(self, named: Named) -> Graft:
        """Give the graft of a name.

        Raises:
            PlanError: It is nowhere.
            FingerprintError: It was trained on another base.
            GraftError: Its tensors have other sizes than this base's.
        """
        if named not in self.found:
            graft = self._get(named)
            # What is the latest may be named by its version as well.
            if named.version is None and graft.manifest is not None and str(named) not in self.memory:
                graft = self.found.setdefault(Named(named.name, graft.manifest.version), graft)
            self.found[named] = graft
        return self.found[named]

    def average(self, plan: Average, grafts: Sequence[Graft]) -> Graft:
        """Give the average of the parameters of some grafts, which are those that the plan names.

        Raises:
            GraftError: The grafts were not made alike, or have no sum.
        """
        name = str(plan)
        if name in self.memory:
            return self.memory[name]
        if name not in self.averages:
            # Loaded here, since most plans average nothing.
            from polygraft.attach.arithmetic import average_grafts

            self.averages[name] = average_grafts(self.base, name, grafts, plan.shares)
        return self.averages[name]

    def check_once(self, way: Plan) -> None:
        """Refuse a way in which two versions of a name are one and the same graft.

        Raises:
            PlanError: They are.
        """
        seen: dict[tuple[str, Graft], Named] = {}
        for named in list_names(way):
            other = seen.setdefault((named.name, self.find(named)), named)
            if other != named:
                raise PlanError(
                    f"The plan '{way}' names '{other}' and '{named}', which are one graft. A graft acts once in a "
                    "plan. Name another version, or leave one of them out."
                )

    def _get(self, named: Named) -> Graft:
        if str(named) in self.memory:
            graft = self.memory[str(named)]
            if not self.any_base:
                check_made_for(self.base, graft)
            if graft.base_fingerprint != self.base.fingerprint:
                check_sizes(self.base, graft)
                for layers in graft.list_layers(EditLayers):
                    check_weights(self.base, graft.name, layers)
            return graft
        store = self.store
        stored = () if store is None else store.names()
        if store is None or named.name not in stored:
            raise self._miss(named, sorted({*self.memory, *stored}))
        manifest, tensors = store.get(named.name, version=named.version)
        return rebuild_graft(
            self.base, manifest, tensors, any_base=self.any_base, folder=store.find_folder(manifest)
        )

    def _miss(self, named: Named, known: Sequence[str]) -> PlanError:
        store = self.store
        if store is not None:
            try:
                store.check_is_folder(must_exist=True)
            except StoreError as error:
                return PlanError(
                    f"The plan '{self.plan}' names '{named}', which is not among the grafts. {error}"
                )
        place = "among the grafts given" if store is None else f"in the store {store.folder}"
        # Of a name that is there without the version, the version is what is missing.
        wanted = str(named) if named.name in known else named.name
        if store is not None and not known:
            return PlanError(
                f"The plan '{self.plan}' names '{wanted}', which is not {place}. The store is empty. `polygraft "
                "quickstart` or `polygraft run` fills one; --store names another."
            )
        hint = f"There are {', '.join(known[:12])}." if known else "There is none."
        more = "Give it in `grafts`, or name its store." if store is None else store.say_listing(len(known))
        return PlanError(
            f"The plan '{self.plan}' names '{wanted}', which is not {place}.{nearest(wanted, known)} {hint} {more}"
        )


def index_grafts(grafts: Sequence[Graft]) -> dict[str, Graft]:
    """Give grafts by their names, and those that were stored by name and version, too.

    Of two versions of one name, the name alone means neither.

    Raises:
        PlanError: Two different ones have the same name, and no versions that tell them apart.
    """
    found: dict[str, Graft] = {}
    by_name: dict[str, set[Graft]] = {}
    for graft in grafts:
        by_name.setdefault(graft.name, set()).add(graft)
        if graft.manifest is not None:
            _put(found, str(Named(graft.name, graft.manifest.version)), graft, num_given=len(grafts))
    for graft in grafts:
        if len(by_name[graft.name]) == 1 or graft.manifest is None:
            _put(found, graft.name, graft, num_given=len(grafts))
    return found


def _put(found: dict[str, Graft], name: str, graft: Graft, *, num_given: int) -> None:
    if found.setdefault(name, graft) is not graft:
        raise PlanError(
            f"Two of the {num_given} grafts given are called '{name}', and a plan could mean either. "
            "Expected a name of its own for each. Rename one, or leave it out."
        )
