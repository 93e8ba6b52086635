"""Datasets of the Hugging Face library `datasets`: on the hub, or in a folder."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from polygraft.data.address import Address, parse_address
from polygraft.data.extra import need
from polygraft.data.open import show
from polygraft.data.table import Row, Table, find_class_names
from polygraft.errors import DataError, nearest

if TYPE_CHECKING:
    from datasets import Dataset, DatasetDict

BATCH_ROWS = 1024
SAVED = ("state.json", "dataset_dict.json")
"""One of these is in a folder that `save_to_disk` wrote."""


def open_dataset(path: Path | str) -> Table:
    """Open a dataset; only the columns that are asked for are read.

    Args:
        path: Its address, as `hf:owner/name:train` or `hf:folder:train`.

    Raises:
        DataError: There is no such dataset or split, or it cannot be read.
        MissingExtraError: datasets is not installed.
    """
    address = parse_address(path)
    dataset = _load(address)

    def read_rows(names: Sequence[str]) -> Iterator[Row]:
        return enumerate(_read_values(dataset, names), start=1)

    return Table(
        source=str(address),
        columns=tuple(dataset.column_names),
        read_rows=read_rows,
        unit="row",
        class_names=find_class_names(dataset.features.to_dict()),
    )


def digest_dataset(path: Path | str) -> str:
    """Give a SHA-256 over all columns and rows of a dataset, as 64 hexadecimal digits.

    It depends on nothing else: not on where the dataset is, how its files are cut, or when it was made.

    Args:
        path: Its address.

    Raises:
        DataError: There is no such dataset or split, or it cannot be read.
        MissingExtraError: datasets is not installed.
    """
    dataset = _load(parse_address(path))
    names = sorted(dataset.column_names)
    classes = find_class_names(dataset.features.to_dict())
    digest = hashlib.sha256(json.dumps([names, classes], sort_keys=True).encode())
    for values in _read_values(dataset, names):
        digest.update(json.dumps(values, default=repr).encode() + b"\n")
    return digest.hexdigest()


def _read_values(dataset: Dataset, names: Sequence[str]) -> Iterator[Sequence[object]]:
    """Give the values of some columns as they are stored, row by row: images and sounds are not decoded."""
    if not len(dataset) or not names:
        return
    stored = dataset.select_columns(list(names)).with_format("arrow")
    for batch in cast("Iterator[Any]", stored.iter(batch_size=BATCH_ROWS)):
        yield from zip(*(batch.column(name).to_pylist() for name in names), strict=True)


def _load(address: Address) -> Dataset:
    need("datasets", extra="datasets", source=str(address))
    from datasets import Dataset, DatasetDict, load_dataset, load_from_disk
    from datasets.exceptions import DatasetsError
    from pyarrow import ArrowException

    folder = address.find_folder()
    _check_place(address, folder)
    try:
        if folder is not None and any((folder / name).is_file() for name in SAVED):
            if address.config is not None:
                raise DataError(
                    f"{address}: a folder that save_to_disk wrote has no configurations, and '{address.config}' is "
                    f"asked for. Expected hf:FOLDER:SPLIT. Leave '{address.config}' out."
                )
            loaded = load_from_disk(str(folder))
        else:
            loaded = load_dataset(
                address.place if folder is None else str(folder), address.config, split=address.split
            )
    except (OSError, ValueError, DatasetsError, ArrowException) as error:
        reason = str(error).strip().split("\n")[0].rstrip(".")
        raise DataError(
            f"{address} cannot be loaded: {reason}. A folder, or a dataset on the hub that may be read, was expected "
            "as hf:PLACE:SPLIT or hf:PLACE:CONFIG:SPLIT. Check each part, and the connection if it is on the hub."
        ) from None
    except IndexError:
        # That is how the library fails on a saved dataset without rows.
        raise DataError(
            f"{address} has no rows. A dataset with rows was expected. Check that it is complete and is the one you "
            "meant."
        ) from None
    if isinstance(loaded, DatasetDict):
        return _choose_split(loaded, address)
    assert isinstance(loaded, Dataset)
    if folder is not None and address.split is not None and (folder / SAVED[0]).is_file():
        _check_single(loaded, address)
    return loaded


def _check_place(address: Address, folder: Path | None) -> None:
    """Refuse what neither is a folder nor can be on the hub, before the network is asked."""
    is_id = address.place.count("/") <= 1 and not address.place.startswith((".", "/", "~"))
    if folder is None and not is_id:
        raise DataError(
            f"{address} cannot be loaded: there is no folder {address.place}. A folder with a dataset, or OWNER/NAME "
            "on the hub, was expected. Check the path; a relative one starts at the folder where the program was "
            "started."
        )


def _choose_split(loaded: DatasetDict, address: Address) -> Dataset:
    splits = [str(name) for name in loaded]
    if address.split in splits:
        return loaded[address.split]
    said = "names no split" if address.split is None else f"has no split {show(address.split)}"
    raise DataError(
        f"{address} {said}. Its splits are: {', '.join(splits)}.{nearest(address.split or '', splits)} Write the split "
        "behind the last colon."
    )


def _check_single(dataset: Dataset, address: Address) -> None:
    """Refuse the name of a split that a folder with one dataset does not have; a dataset may know its own."""
    own = None if dataset.split is None else str(dataset.split)
    if address.split != own:
        known = "has no name" if own is None else f"is called {show(own)}"
        raise DataError(
            f"{address} has no split {show(address.split or '')}: the folder holds a single dataset, which {known}. "
            "Expected hf:FOLDER. Leave the split out."
        )
