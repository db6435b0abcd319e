"""The ledger: which pictures are to do, which an earlier run did, and which this run has done.

It is a small database on this machine's disk that lasts one run, so that a million pictures take no
memory. Between runs only the table lasts, see `table`.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, asdict, dataclass, fields
from functools import lru_cache
from typing import Any

from crop_core.batch.listed import Listed
from crop_core.errors import CropError
from crop_core.picture_files import key_of, safe_folder
from crop_core.request import CropRequest

# These errors depend only on the picture and the request, so a retry cannot help. Any other error may be gone then.
FINAL_ERRORS = ("ImageError", "RequestError")
RESERVED = ("results.parquet", ".crop-core")  # names in OUT that no picture's folder may have

_SCHEMA = """
CREATE TABLE plan (id INTEGER PRIMARY KEY, key TEXT UNIQUE, place TEXT, work TEXT, state INTEGER);
CREATE UNIQUE INDEX plan_place ON plan (place);
CREATE INDEX plan_todo ON plan (id) WHERE state = 0;
CREATE TABLE latest (place TEXT PRIMARY KEY, at INTEGER, key TEXT, error TEXT, message TEXT, files TEXT, address TEXT);
"""
_TO_DO, _KEPT, _DONE = 0, 1, 2


@dataclass(frozen=True, slots=True)
class Row:
    """What the ledger reads from a row of the table.

    Attributes:
        folder: The picture's folder in OUT.
        key: The hash of the picture and the request.
        error: The error's type; none if the picture was cropped.
        files: The files in its folder.
        message: The error's message.
        address: The picture's address; none in a table from before this column existed.
    """

    folder: str
    key: str
    error: str | None
    files: tuple[str, ...]
    message: str | None = None
    address: str | None = None


class Ledger:
    """The pictures of one run, by the folder that their crops go to.

    Args:
        inputs: The inputs for all pictures; a picture's own inputs override them.
        dry_run: Whether nothing is cut.
        retry_failed: Whether failed pictures are retried, whatever the error was.
        sidecars: The endings of the files beside a picture that are copied beside its crops.
    """

    def __init__(
        self, inputs: Mapping[str, Any], dry_run: bool, retry_failed: bool, sidecars: tuple[str, ...] = ()
    ) -> None:
        self._inputs = dict(inputs)
        self._dry_run = dry_run
        self._retry_failed = retry_failed
        self._more = (list(sidecars),) if sidecars else ()  # nothing if there are none: older keys stay valid
        self._file = tempfile.NamedTemporaryFile(prefix="crop-core-", suffix=".sqlite")  # noqa: SIM115 (see close)
        self._db = sqlite3.connect(self._file.name, isolation_level=None)
        self._db.executescript("PRAGMA journal_mode=OFF; PRAGMA synchronous=OFF; BEGIN;" + _SCHEMA)
        self._at = 0
        self.repeated = 0  # how often a picture was named again with the same request

    def close(self) -> None:
        """Delete the database."""
        self._db.close()
        self._file.close()

    # ---- what the table says

    def saw(self, row: Row) -> int:
        """Record the next row of the table, which replaces an earlier row of the same folder; return its number."""
        self._at += 1
        self._db.execute(
            "INSERT OR REPLACE INTO latest VALUES (?, ?, ?, ?, ?, ?, ?)",
            (_fold(row.folder), self._at, row.key, row.error, row.message, json.dumps(row.files), row.address),
        )
        return self._at

    def stays(self, folder: str, at: int) -> bool:
        """Return whether a row stays in the table.

        It stays if it is its folder's latest row, and its picture was cropped or is one of this run's.
        """
        place = _fold(folder)
        latest = self._db.execute("SELECT at, error FROM latest WHERE place = ?", (place,)).fetchone()
        if latest is None or latest[0] != at:
            return False
        return latest[1] is None or self._taken(folder)

    def has_strays(self) -> bool:
        """Return whether the table has failures of pictures that the sources no longer name."""
        query = "SELECT 1 FROM latest LEFT JOIN plan USING (place) WHERE latest.error IS NOT NULL AND plan.id IS NULL"
        return self._db.execute(query).fetchone() is not None

    # ---- what is to do

    def add(self, listed: Listed) -> None:
        """Put a picture on the plan, unless it is there with the same request."""
        error, request = listed.error, "{}"
        if error is None:
            request, error = self._request(json.dumps(dict(listed.inputs), sort_keys=True))
        key = _hash(listed.address, listed.size, listed.mark, request, self._dry_run, *self._more)
        if self._db.execute("SELECT 1 FROM plan WHERE key = ?", (key,)).fetchone():
            self.repeated += 1
            return
        folder = self._folder_for(listed, request)
        work: dict[str, Any] = {
            "source": listed.source,
            "address": listed.address,
            "size": listed.size,
            "folder": folder,
            "key": key,
            "request": request,
        }
        state = _TO_DO
        before = self._db.execute("SELECT key, error, files FROM latest WHERE place = ?", (_fold(folder),)).fetchone()
        if before is not None:
            old_key, old_error, files = before
            retried = old_error is not None and (self._retry_failed or old_error not in FINAL_ERRORS)
            if old_key == key and not retried:
                state = _KEPT
            work["old_files"] = json.loads(files)
        if error is not None:
            work["error"] = error
        self._db.execute(
            "INSERT INTO plan (key, place, work, state) VALUES (?, ?, ?, ?)",
            (key, _fold(folder), json.dumps(work), state),
        )

    def _folder_for(self, listed: Listed, request: str) -> str:
        """Return a folder that no other picture of this or an earlier run has; the same in every run."""
        folder = safe_folder(listed.folder)
        if _fold(folder).split("/")[0] in RESERVED or self._is_anothers(folder, listed.address):
            folder += key_of(listed.address)
        if self._taken(folder):  # with another request
            folder += "~" + _hash(request)[:8]
        while self._taken(folder):  # the same picture under two marks
            folder += "~"
        return folder

    def _is_anothers(self, folder: str, address: str) -> bool:
        query = "SELECT json_extract(work, '$.address') FROM plan WHERE place = ? UNION ALL "
        query += "SELECT address FROM latest WHERE place = ? AND address IS NOT NULL"
        place = _fold(folder)
        return any(other != address for (other,) in self._db.execute(query, (place, place)))

    def _taken(self, folder: str) -> bool:
        return bool(self._db.execute("SELECT 1 FROM plan WHERE place = ?", (_fold(folder),)).fetchone())

    @lru_cache(maxsize=4096)  # noqa: B019 (a ledger lives as long as its run)
    def _request(self, own: str) -> tuple[str, str | None]:
        """Return the request's inputs that differ from the defaults, as JSON, and what is wrong with it, or none."""
        inputs = {**self._inputs, **json.loads(own)}
        try:
            return json.dumps(plain_inputs(CropRequest.from_inputs(**inputs)), sort_keys=True), None
        except CropError as error:
            return json.dumps(inputs, sort_keys=True), str(error)

    def counts(self) -> tuple[int, int]:
        """Return how many pictures there are, and how many of them are still to do."""
        total = self._db.execute("SELECT COUNT(*) FROM plan").fetchone()[0]
        return total, self._db.execute("SELECT COUNT(*) FROM plan WHERE state = 0").fetchone()[0]

    def kept(self) -> Iterator[dict[str, str] | None]:
        """Yield, for each picture that an earlier run did, its error or none."""
        query = "SELECT latest.error, message FROM plan JOIN latest USING (place) WHERE state = ?"
        for error, message in self._db.execute(query, (_KEPT,)):
            yield error and {"type": error, "message": message}

    def to_do(self, limit: int, among: tuple[int, int] | None = None) -> list[tuple[int, dict[str, Any]]]:
        """Return the next pictures to do: each one's number, and what a worker must know.

        Args:
            limit: The most that are returned.
            among: The first and last number to look at; all when none.
        """
        first, last = among or (0, 2**62)
        query = "SELECT id, work FROM plan WHERE state = 0 AND id BETWEEN ? AND ? ORDER BY id LIMIT ?"
        return [(number, json.loads(work)) for number, work in self._db.execute(query, (first, last, limit))]

    def hopeless(self, limit: int) -> list[tuple[int, dict[str, Any]]]:
        """Return at most `limit` pictures that are to do but whose error is known already."""
        query = "SELECT id, work FROM plan WHERE state = 0 AND json_extract(work, '$.error') IS NOT NULL LIMIT ?"
        return [(number, json.loads(work)) for number, work in self._db.execute(query, (limit,))]

    def did(self, number: int) -> bool:
        """Record that a picture has a row now; return whether it had none before."""
        query = "UPDATE plan SET state = ? WHERE id = ? AND state = ?"
        return self._db.execute(query, (_DONE, number, _TO_DO)).rowcount == 1


def plain_inputs(request: CropRequest) -> dict[str, Any]:
    """Return the inputs that differ from the defaults. With all inputs, adding one later would change every key."""
    values = asdict(request)
    plain = {}
    for entry in fields(CropRequest):
        assert entry.default is not MISSING
        if values[entry.name] != entry.default:
            plain[entry.name] = values[entry.name]
    if "aspect_ratios" in plain:
        plain["aspect_ratio"] = ",".join(plain.pop("aspect_ratios"))
    return plain


def _fold(folder: str) -> str:
    return folder.casefold()  # some disks ignore case


def _hash(*values: Any) -> str:
    return hashlib.sha256(json.dumps(values).encode()).hexdigest()[:32]
