"""Original archives: taken from the user's folder, or downloaded. A download that was cut off goes on where it was."""

import dataclasses
import hashlib
import http.client
import os
import queue
import threading
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

from effnet_jax.data.disk import files
from effnet_jax.errors import UserError
from effnet_jax.process import lock

# A host that does not answer is given up after this; TFDS itself retries for minutes.
CONNECT_SECONDS = 5.0
STALL_SECONDS = 30.0

_CHUNK_BYTES = 2**20


@dataclasses.dataclass(frozen=True)
class Download:
    """One file.

    Attributes:
      url: Where to download it.
      sha256: Of the whole file, as TFDS records it in url_checksums/.
    """

    url: str
    sha256: str

    @property
    def file_name(self) -> str:
        return self.url.rpartition("/")[2]


def manual(download: Download, manual_dir: Path) -> Path:
    """Returns the user's own copy.

    Raises:
      UserError: It is not there, or is not the original.
    """
    path = manual_dir / download.file_name
    if not path.is_file():
        raise UserError(
            f"{path} is not there: put the original {download.file_name} into dataset.manual_dir, "
            "or leave dataset.manual_dir empty to download it"
        )
    found = sha256(path)
    if found != download.sha256:
        raise UserError(
            f"{path} is damaged or not the original (SHA-256 expected {download.sha256}, found {found}): "
            "get it again, or leave dataset.manual_dir empty to download it"
        )
    return path


def downloaded(name: str, download: Download, data_dir: Path) -> Path:
    """Returns the file in `<data_dir>/downloads`, which is downloaded unless it is there already.

    What has come is kept in a hidden file, so that the next call asks for the rest alone. Of several processes one
    downloads and the others wait for it.

    Raises:
      UserError: If the host does not answer within `CONNECT_SECONDS`, or the download breaks off or differs.
    """
    path = data_dir / "downloads" / download.file_name
    if _is_whole(path, download):
        return path
    path.parent.mkdir(exist_ok=True)
    lock_file = path.with_name(f".{download.file_name}.lock")
    with lock.hold(lock_file, f"downloading {download.file_name} into {path.parent}", wait=True):
        if not _is_whole(path, download):  # another process may have made it so meanwhile
            _download(name, download, data_dir, path)
    return path


def _is_whole(path: Path, download: Download) -> bool:
    return path.is_file() and sha256(path) == download.sha256


def _download(name: str, download: Download, data_dir: Path, path: Path) -> None:
    part = path.with_name(f".{download.file_name}.part")
    with open(part, "ab") as file:
        try:
            if not file.tell() or sha256(part) != download.sha256:  # a whole one lacks nothing but its name
                _fetch(name, download, data_dir, file)
            found = sha256(part)
            if found == download.sha256:
                os.replace(part, path)
        finally:
            if part.is_file() and not part.stat().st_size:
                part.unlink()
        if found != download.sha256:
            part.unlink()
            raise UserError(
                f"what {download.url} sent is damaged (SHA-256 expected {download.sha256}, found {found}): "
                f"run the command again, or put the original {download.file_name} into dataset.manual_dir"
            )


def _fetch(name: str, download: Download, data_dir: Path, file) -> None:
    """Appends to `file` what it lacks."""
    try:
        response = _open(download.url, file.tell())
    except (OSError, http.client.HTTPException) as error:
        host = urllib.parse.urlsplit(download.url).netloc
        reason = error.reason if isinstance(error, urllib.error.URLError) else error
        raise UserError(
            f"{name} is not in {data_dir} and cannot be downloaded from {host} ({reason}): either set "
            f"dataset.data_dir or TFDS_DATA_DIR to a folder with prepared TFDS data ({name}/<version>/), or "
            f"put the original {download.file_name} into a folder and set dataset.manual_dir to that folder"
        ) from error
    with response:
        if file.tell() and response.status != http.HTTPStatus.PARTIAL_CONTENT:  # a host that sends all again
            file.truncate(0)
        _copy(response, file, download.url)


def _open(url: str, start: int) -> http.client.HTTPResponse:
    """Asks for a file from byte `start` on, honouring the proxy variables; gives up after `CONNECT_SECONDS`.

    A name server that does not answer blocks for longer than any socket's timeout, hence the thread.
    """
    request = urllib.request.Request(url, headers={"Range": f"bytes={start}-"}) if start else url
    answers: queue.Queue = queue.Queue()

    def ask() -> None:
        try:
            answers.put(urllib.request.urlopen(request, timeout=STALL_SECONDS))
        except Exception as error:  # raised again below, in the thread that asked
            answers.put(error)

    threading.Thread(target=ask, daemon=True).start()
    try:
        answer = answers.get(timeout=CONNECT_SECONDS)
    except queue.Empty:
        raise TimeoutError(f"no answer within {CONNECT_SECONDS:g} s") from None
    if isinstance(answer, Exception):
        raise answer
    return answer


def _copy(response: http.client.HTTPResponse, file, url: str) -> None:
    done = file.seek(0, os.SEEK_END)
    total = done + int(response.headers.get("Content-Length", 0))  # absent when sent in chunks
    with files.Progress(f"downloading {url}", total, "bytes") as progress:
        progress.advance(done)
        while True:
            try:
                chunk = response.read(_CHUNK_BYTES)
                if not chunk and done < total:  # no error to http.client
                    raise ConnectionError("the connection was closed")
            except (OSError, http.client.HTTPException) as error:  # of reading; those of writing pass
                raise UserError(
                    f"the download of {url} broke off after {done:,} of {total:,} bytes ({error}): "
                    "run the command again to go on from there"
                ) from error
            finally:
                file.flush()
            if not chunk:
                return
            file.write(chunk)
            done += len(chunk)
            progress.advance(len(chunk))


def sha256(path: Path) -> str:
    """Returns the digest of a file."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
