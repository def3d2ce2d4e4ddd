"""Runs in Airflow's environment: what `settings.folder` makes of folders of each kind, in stores that are in memory."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import fsspec
from airflow.sdk.exceptions import AirflowException
from airflow.sdk.io import fs as airflow_fs
from fsspec.implementations.memory import MemoryFileSystem

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "airflow_dags"))

from vizrec_dags import delta_log
from vizrec_dags.settings import folder

ROOTS = {
    "s3a": "s3a://shop/vizrec/tables",
    "gs": "gs://shop/vizrec/tables",
    "abfss": "abfss://shop@account.dfs.core.windows.net/vizrec/tables",
    "hdfs": "hdfs://namenode:8020/vizrec/tables",
}


class Store(MemoryFileSystem):
    """A store that tells with what options it was made, and keeps the listings that it has made itself."""

    options: dict[str, Any]

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.options, self.listed = options, {}

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        return "/" + path.split("://")[-1].strip("/")

    def ls(self, path: str, detail: bool = True, **kwargs: Any) -> list[Any]:
        """The listing of the first time."""
        found = self.listed.setdefault(path, super().ls(path, detail=True))
        return found if detail else [entry["name"] for entry in found]

    def invalidate_cache(self, path: str | None = None) -> None:
        """Forgets this store's listings, and no other's."""
        self.listed.clear()


def looked_at(root: str) -> dict[str, Any]:
    """How a folder is read: by which address and options, and which versions are there, commit by commit."""
    place = folder(root)
    inner = place.__wrapped__
    where, seen = inner.fs._strip_protocol(str(inner)), []
    for version in range(2):
        if version == 0:
            Store.store.clear()
        for earlier in range(version + 1):
            inner.fs.pipe(f"{where}/runs/_delta_log/{earlier:020d}.json", b"{}")
        seen.append(delta_log.versions(place / "runs"))
    return {"path": where, "options": getattr(inner.fs, "options", {}), "seen": seen}


def refusal(root: str) -> str:
    """What is said where a folder cannot be read; empty where it can."""
    try:
        folder(root)
    except AirflowException as error:
        return str(error)
    return ""


def away(failure: type[Exception]) -> dict[str, tuple[str, str]]:
    """What is raised where the client of each kind of store cannot be made, for want of a store."""

    def fail(self: Store, **_options: Any) -> None:
        raise failure("no route to host")

    found = {}
    for scheme, root in ROOTS.items():
        kind = type("Away", (Store,), {"protocol": scheme, "__init__": fail, "cachable": False})
        fsspec.register_implementation(scheme, kind, clobber=True)
        try:
            folder(root)
        except AirflowException as error:
            found[scheme] = (type(error).__name__, str(error))
    return found


def main() -> None:
    found: dict[str, Any] = {"refused": {scheme: refusal(root) for scheme, root in ROOTS.items()}}
    found["refused"]["ftps"] = refusal("ftps://shop/vizrec/tables")
    found["away"] = {failure.__name__: away(failure) for failure in (OSError, ValueError)}
    for scheme in ROOTS:
        fsspec.register_implementation(
            scheme, type(scheme.title(), (Store,), {"protocol": scheme}), clobber=True
        )
    found["plain"] = {scheme: looked_at(root) for scheme, root in ROOTS.items()}
    china = "abfss://shop@account.dfs.core.chinacloudapi.cn/vizrec/tables"
    found["china"] = folder(china).__wrapped__.fs.options
    os.environ["AIRFLOW_VAR_VIZREC_STORAGE_CONN"] = "shop_store"
    found["undefined"] = {scheme: refusal(root) for scheme, root in ROOTS.items()}
    os.environ["AIRFLOW_CONN_SHOP_STORE"] = json.dumps({"conn_type": "generic"})
    found["no_provider"] = {scheme: refusal(root) for scheme, root in ROOTS.items()}
    # As a provider's function makes it, from the connection.
    providers = {
        scheme: lambda conn, options: Store(connection=conn, skip_instance_cache=True) for scheme in ROOTS
    }
    airflow_fs._register_filesystems = lambda: providers  # type: ignore[assignment]
    from airflow.sdk.io import store

    store._STORE_CACHE.clear()
    found["connected"] = {scheme: looked_at(root) for scheme, root in ROOTS.items()}
    print(json.dumps(found, default=str))


if __name__ == "__main__":
    main()
