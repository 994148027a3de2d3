"""The embedded store: one owner, and nothing on disk for longer than a day after it has expired."""

import os
import time
from pathlib import Path

from redis import Redis

from app.store.embedded import (
    REWRITE_AFTER,
    embedded_server,
    rewrite_if_old,
    socket_of,
    store_directory,
)
from tests.e2e.conftest import until


def _on_disk(path: Path, text: bytes) -> bool:
    return any(text in file.read_bytes() for file in store_directory(path).rglob("*.aof*") if file.is_file())


def test_what_has_expired_leaves_the_disk_by_a_rewrite_and_what_lives_stays(tmp_path: Path) -> None:
    with embedded_server(tmp_path), Redis(unix_socket_path=str(socket_of(tmp_path))) as client:
        client.set("expired-79161234567", "x", px=1)
        client.set("living", "x", ex=3600)
        until(lambda: client.dbsize() == 1)
        until(lambda: _on_disk(tmp_path, b"expired-79161234567"))
        assert not rewrite_if_old(tmp_path), "it is new"
        (base,) = store_directory(tmp_path).rglob("*.base.*")
        then = time.time() - REWRITE_AFTER - 1
        os.utime(base, (then, then))
        assert rewrite_if_old(tmp_path)
        until(lambda: not _on_disk(tmp_path, b"expired-79161234567"))
        assert not rewrite_if_old(tmp_path), "not twice in a row"
        assert client.keys() == [b"living"]
    with embedded_server(tmp_path), Redis(unix_socket_path=str(socket_of(tmp_path))) as client:
        assert client.keys() == [b"living"], "what lived is there after a restart"


def test_a_record_is_gone_within_a_day_of_its_end() -> None:
    assert REWRITE_AFTER < 24 * 3600 / 1.5


def test_a_long_path_has_its_socket_elsewhere_and_each_store_its_own(tmp_path: Path) -> None:
    long = tmp_path / ("d" * 120)
    assert len(os.fsencode(socket_of(long))) <= 100
    assert socket_of(long) != socket_of(long / "other")
    with embedded_server(long), Redis(unix_socket_path=str(socket_of(long))) as client:
        assert client.ping()
    assert store_directory(long).stat().st_mode & 0o777 == 0o700
