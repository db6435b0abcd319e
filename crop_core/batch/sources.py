"""Lists the pictures to crop: folders, globs, manifests and single pictures, on disks and object stores.

Pictures are yielded one by one, and only manifests are opened.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from crop_core.batch.listed import Listed
from crop_core.batch.local_sources import list_local
from crop_core.batch.manifests import is_manifest, list_manifest
from crop_core.batch.remote_sources import list_remote
from crop_core.batch.storage import absolute, is_local, join
from crop_core.errors import RequestError


def list_sources(
    sources: Sequence[str], out: str, endings: Sequence[str], column: str, met: Callable[[str], None]
) -> Iterator[Listed]:
    """Yield every picture of the sources.

    Args:
        sources: Folders, globs, manifests and pictures.
        out: Where the crops go; pictures in it are left out.
        endings: The endings that make a file in a folder a picture, in lower case.
        column: A manifest's column of paths.
        met: Called once with the name of each further column of a manifest, except `version`.

    Raises:
        RequestError: A source does not exist, or a manifest cannot be read.
    """
    many = len(sources) > 1
    for source in sources:
        _check_out(source, out)
        if is_manifest(source):
            yield from list_manifest(source, column, met)
        elif is_local(source):
            yield from list_local(source, absolute(out), endings, many)
        else:
            yield from list_remote(source, out, endings, many)


def _check_out(source: str, out: str) -> None:
    inside, outside = absolute(source), absolute(out)
    if inside == outside or inside.startswith(join(outside, "")):
        raise RequestError(
            f"The crops would go among the pictures: OUT {out} is the source {source}, or holds it. "
            "Choose an OUT beside the source or in it."
        )
