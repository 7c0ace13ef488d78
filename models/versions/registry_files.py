"""Where a registry stands: a directory, or an S3-compatible bucket by way of fsspec.

Invariants
1. A file is written once. Where one of its name stands, writing is refused, whoever of two writers comes first: a
   directory creates exclusively, a bucket by a conditional put (`If-None-Match: *`).
2. A file that is being written, or that somebody who was killed left half-written, is none of the registry's.
3. Reading ends, whatever stands under the name: no more is read than a file may hold, and no server is waited for
   longer than a few seconds.
"""

from __future__ import annotations

import os
import re
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Protocol

from models.artefact.files import MANIFEST
from models.artefact.plain_files import read_plain
from models.artefact.strict import ModelRefused

CONNECT_S: Final = 3
READ_S: Final = 5
"""Longest wait for a bucket; a worker looks at its registry beside the loop that decides."""
ATTEMPTS_MAX: Final = 2
S3: Final = "s3"
CHALLENGER_MANIFEST: Final = "challenger.json"
"""The manifest of a challenger that is no glass box; pipeline.shadow.onnx_files says what it holds."""
CHALLENGER_BYTES_MAX: Final = 64 * 1024 * 1024
"""Largest file of such a one: a forest of 500 deep trees takes some 40 MB."""
_UNTELLABLE: Final = re.compile("[^ -~]")
"""What no name of ours holds: others would spoil a terminal, or can't be written to a log or a database at all."""
PARTIAL_BYTES: Final = 8
_PARTIAL: Final = re.compile(rf"\..+\.[0-9a-f]{{{2 * PARTIAL_BYTES}}}", re.ASCII | re.DOTALL)
"""A file beside its place, while it is written; whoever is killed then leaves it behind."""


class RegistryUnavailable(ModelRefused):
    """The registry can't be read or written just now; one sentence, without a full stop."""


class AlreadyThere(ModelRefused):
    """A file of that name stands, and nothing in a registry is written over."""


class Registry(Protocol):
    """Files by names with slashes. All raise RegistryUnavailable."""

    @property
    def location(self) -> str: ...

    def read(self, name: str, bytes_max: int) -> bytes | None:
        """Return the content, or its first `bytes_max` + 1 bytes; None where there is no such file."""

    def names(self, folder: str) -> list[str]:
        """Return the last parts of the names directly in a folder, sorted; none where there is no such folder.

        They may be told anywhere: what is no plain ASCII has a question mark in its place, and names no file.
        """

    def create(self, name: str, content: bytes) -> None:
        """Write a new file whole. Raises AlreadyThere where one stands."""


def registry_at(location: Path) -> Registry:
    """Return the registry at a directory, or at s3://BUCKET/PREFIX, of which a Path keeps one slash only.

    Raises RegistryUnavailable where buckets can't be read for want of a library.
    """
    scheme, colon, rest = str(location).partition(":")
    if colon and scheme == S3:
        return BucketRegistry(rest.strip("/"))
    return DirectoryRegistry(location)


class DirectoryRegistry:
    def __init__(self, root: Path) -> None:
        self.root = root

    @property
    def location(self) -> str:
        return str(self.root)

    def read(self, name: str, bytes_max: int) -> bytes | None:
        try:
            return read_plain(self.root / name, bytes_max)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise RegistryUnavailable(f"'{name}' of the registry can't be read ({error.strerror})") from error

    def names(self, folder: str) -> list[str]:
        try:
            names = [name for name in os.listdir(self.root / folder) if _PARTIAL.fullmatch(name) is None]
        except (FileNotFoundError, NotADirectoryError):
            return []
        except OSError as error:
            raise RegistryUnavailable(f"the registry can't be listed ({error.strerror})") from error
        return sorted(map(_tellable, names))

    def create(self, name: str, content: bytes) -> None:
        """Write beside the place and link into it, so that nobody reads half a file, and two writers don't both win."""
        path = self.root / name
        partial = path.with_name(f".{path.name}.{secrets.token_hex(PARTIAL_BYTES)}")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            try:
                with partial.open("xb") as file:
                    file.write(content)
                    file.flush()
                    os.fsync(file.fileno())
                os.link(partial, path)
            finally:
                partial.unlink(missing_ok=True)
        except FileExistsError as error:
            raise AlreadyThere(f"'{name}' stands in the registry already, and is never written over") from error
        except OSError as error:
            raise RegistryUnavailable(f"'{name}' can't be written to the registry ({error.strerror})") from error


class BucketRegistry:
    """Credentials, region and endpoint come from where every S3 client looks: AWS_… variables or the machine's role."""

    def __init__(self, root: str) -> None:
        """Raises RegistryUnavailable."""
        self.root = root
        self._files = _bucket_files()

    @property
    def location(self) -> str:
        return f"s3://{self.root}"

    def read(self, name: str, bytes_max: int) -> bytes | None:
        try:
            return bytes(self._files.cat_file(f"{self.root}/{name}", start=0, end=bytes_max + 1))
        except FileNotFoundError:
            return None
        except Exception as error:
            if _is_empty_range(error):
                return b""
            raise _unavailable(f"'{name}' of the registry can't be read", error) from error

    def names(self, folder: str) -> list[str]:
        try:
            found = self._files.ls(f"{self.root}/{folder}".rstrip("/"), detail=False, refresh=True)
        except FileNotFoundError:
            return []
        except Exception as error:
            raise _unavailable("the registry can't be listed", error) from error
        return sorted({_tellable(name) for each in found if (name := str(each).rstrip("/").rpartition("/")[2])})

    def create(self, name: str, content: bytes) -> None:
        """Write by a conditional put, which the bucket's server itself refuses where the name is taken."""
        try:
            self._files.pipe_file(f"{self.root}/{name}", content, mode="create")
        except FileExistsError as error:
            raise AlreadyThere(f"'{name}' stands in the registry already, and is never written over") from error
        except Exception as error:
            if _is_taken(error):
                raise AlreadyThere(f"'{name}' stands in the registry already, and is never written over") from error
            raise _unavailable(f"'{name}' can't be written to the registry", error) from error


class BesideRegistry:
    """A registry, and one version that stands in a folder of its own beside it: a challenger that is no glass box.

    What names its files and signs records of them is the registry's own code. Whoever asks for its manifest by the name
    that every version's has gets its own, so that its digest is told, and pinned, as theirs are.
    """

    def __init__(self, registry: Registry, folder: Path) -> None:
        self._registry, self.version, self._own = registry, folder.name, DirectoryRegistry(folder.parent)

    @property
    def location(self) -> str:
        return self._registry.location

    def read(self, name: str, bytes_max: int) -> bytes | None:
        version, slash, file = name.partition("/")
        if not slash or version != self.version:
            return self._registry.read(name, bytes_max)
        beside = CHALLENGER_MANIFEST if file == MANIFEST else file
        return self._own.read(f"{version}/{beside}", max(bytes_max, CHALLENGER_BYTES_MAX))

    def names(self, folder: str) -> list[str]:
        if folder != self.version:
            return self._registry.names(folder)
        return self._own.names(folder)

    def create(self, name: str, content: bytes) -> None:
        own = self._own if name.partition("/")[0] == self.version else self._registry
        own.create(name, content)


def with_challenger(registry: Registry, challengers: Path, version: str) -> Registry:
    """Return a registry in which a version is found that is none of its own; itself where there is no such folder.

    Raises ModelRefused where both hold one of that name: one name is one model.
    """
    folder = challengers / version
    if not (folder / CHALLENGER_MANIFEST).exists():
        return registry
    if registry.names(version):
        raise ModelRefused(f"two models have the version '{version}', one of them no glass box")
    return BesideRegistry(registry, folder)


def _tellable(name: str) -> str:
    return _UNTELLABLE.sub("?", name)


def _bucket_files() -> Any:
    try:
        import fsspec
        import s3fs  # noqa: F401 - fsspec finds it by name, and only when it is first used
    except ImportError as error:
        raise RegistryUnavailable(
            f"a registry in a bucket needs {error.name}: install it by `pip install '.[s3]'`"
        ) from error
    waits: Mapping[str, object] = {
        "connect_timeout": CONNECT_S,
        "read_timeout": READ_S,
        "retries": {"max_attempts": ATTEMPTS_MAX},
    }
    return fsspec.filesystem(S3, use_listings_cache=False, skip_instance_cache=True, config_kwargs=dict(waits))


def _unavailable(what: str, error: Exception) -> RegistryUnavailable:
    """Return a sentence that quotes nothing of a server's answer, which may hold a name or a key."""
    return RegistryUnavailable(f"{what} ({type(error).__name__})")


def _is_taken(error: BaseException) -> bool:
    return any(
        "PreconditionFailed" in str(each) or "ConditionalRequestConflict" in str(each) for each in _causes(error)
    )


def _is_empty_range(error: BaseException) -> bool:
    """An empty object has no first byte, so a server refuses the range."""
    return any("InvalidRange" in str(each) for each in _causes(error))


def _causes(error: BaseException) -> list[BaseException]:
    return [each for each in (error, error.__cause__, error.__context__) if each is not None]
