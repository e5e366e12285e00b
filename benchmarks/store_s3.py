"""S3's protocol: flowbridge beside boto3's transfer manager and Metaflow's S3 client, against one server on this machine."""

from __future__ import annotations

import io
import os
import random
import shutil
import socket
import statistics
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from typing_extensions import override

from flowbridge.artifacts.store import Store

KEY = "flowbridge"
SECRET = "flowbridge-secret"
BUCKET = "artifacts"
SIZE = 64 << 10
THREADS = 16
Rounds = dict[str, dict[str, list[float]]]


@contextmanager
def server(folder: Path, rclone: str | None) -> Iterator[tuple[str, str]]:
    """Start a server; give its URL and name."""
    program = rclone or shutil.which("rclone")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    (folder / "server" / BUCKET).mkdir(parents=True)
    moto = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    serve = ["serve", "s3", "--addr", f"127.0.0.1:{port}", "--auth-key", f"{KEY},{SECRET}", str(folder / "server")]
    process = subprocess.Popen([program, *serve] if program else moto, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        while process.poll() is None:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.05)
        yield f"http://127.0.0.1:{port}", "rclone serve s3" if program else "moto"
    finally:
        process.terminate()
        process.wait()


class Client:
    """What puts one large object and many small ones, and gets them again.

    Args:
        endpoint: URL of the server.
        folder: Where files go.
    """

    def __init__(self, endpoint: str, folder: Path) -> None:
        self.endpoint = endpoint
        self.folder = folder

    def put_large(self, array: np.ndarray, plain: Path) -> None:
        """Put the bytes of an array, which stand in a file too."""
        raise NotImplementedError

    def get_large(self) -> None:
        """Get them to this machine."""
        raise NotImplementedError

    def put_many(self, arrays: list[np.ndarray]) -> None:
        """Put many small arrays."""
        raise NotImplementedError

    def get_many(self) -> int:
        """Get their bytes into memory; return how many there are."""
        raise NotImplementedError


class Flowbridge(Client):
    """One save of the list, whose items share blobs."""

    def __init__(self, endpoint: str, folder: Path) -> None:
        super().__init__(endpoint, folder)
        options = {"key": KEY, "secret": SECRET, "client_kwargs": {"endpoint_url": endpoint}}
        self.store = Store.open(f"s3://{BUCKET}/store-{folder.name}", options=options, cache_dir=folder / "cache")
        self.store.content.exists("nothing")  # the client is made at the first request, as boto3's is when it is asked for

    @override
    def put_large(self, array: np.ndarray, plain: Path) -> None:
        self.reference = self.store.save(array)

    @override
    def get_large(self) -> None:
        self.store.load(self.reference)

    @override
    def put_many(self, arrays: list[np.ndarray]) -> None:
        self.many = self.store.save(arrays)

    @override
    def get_many(self) -> int:
        return sum(array.nbytes for array in self.store.load(self.many))


class OneByOne(Flowbridge):
    """Each array saved by itself, as by the tasks of a map; some threads do so at the same time."""

    @override
    def put_many(self, arrays: list[np.ndarray]) -> None:
        with ThreadPoolExecutor(THREADS) as pool:
            self.references = list(pool.map(self.store.save, arrays))

    @override
    def get_many(self) -> int:
        with ThreadPoolExecutor(THREADS) as pool:
            return sum(array.nbytes for array in pool.map(self.store.load, self.references))


class Boto(Client):
    """boto3's transfer manager, as it comes."""

    def __init__(self, endpoint: str, folder: Path) -> None:
        super().__init__(endpoint, folder)
        import boto3

        self.client = boto3.client(
            "s3", endpoint_url=endpoint, aws_access_key_id=KEY, aws_secret_access_key=SECRET, region_name="us-east-1"
        )
        self.prefix = folder.name

    @override
    def put_large(self, array: np.ndarray, plain: Path) -> None:
        self.client.upload_file(str(plain), BUCKET, f"{self.prefix}-large")

    @override
    def get_large(self) -> None:
        self.client.download_file(BUCKET, f"{self.prefix}-large", str(self.folder / "got"))

    @override
    def put_many(self, arrays: list[np.ndarray]) -> None:
        from boto3.s3.transfer import TransferConfig, create_transfer_manager

        with create_transfer_manager(self.client, TransferConfig()) as manager:
            futures = [manager.upload(io.BytesIO(a.data), BUCKET, f"{self.prefix}-{n}") for n, a in enumerate(arrays)]
            for future in futures:
                future.result()
        self.count = len(arrays)

    @override
    def get_many(self) -> int:
        from boto3.s3.transfer import TransferConfig, create_transfer_manager

        targets = [io.BytesIO() for _ in range(self.count)]
        with create_transfer_manager(self.client, TransferConfig()) as manager:
            futures = [manager.download(BUCKET, f"{self.prefix}-{n}", target) for n, target in enumerate(targets)]
            for future in futures:
                future.result()
        return sum(target.getbuffer().nbytes for target in targets)


class Metaflow(Client):
    """`metaflow.S3`, which starts processes for what it is given."""

    def s3(self) -> Any:
        """Open the client."""
        from metaflow import S3

        return S3(s3root=f"s3://{BUCKET}/metaflow-{self.folder.name}", tmproot=str(self.folder))

    @override
    def put_large(self, array: np.ndarray, plain: Path) -> None:
        with self.s3() as s3:
            s3.put_files([("large", str(plain))])

    @override
    def get_large(self) -> None:
        with self.s3() as s3:
            assert s3.get("large").size

    @override
    def put_many(self, arrays: list[np.ndarray]) -> None:
        with self.s3() as s3:
            s3.put_many([(f"many/{n}", a.tobytes()) for n, a in enumerate(arrays)])
        self.count = len(arrays)

    @override
    def get_many(self) -> int:
        with self.s3() as s3:
            return sum(len(found.blob) for found in s3.get_many([f"many/{n}" for n in range(self.count)]))


CLIENTS: dict[str, type[Client]] = {
    "flowbridge": Flowbridge,
    "flowbridge, each by itself": OneByOne,
    "boto3's transfer manager": Boto,
    "Metaflow's S3 client": Metaflow,
}
BASE = "boto3's transfer manager"


def measure(folder: Path, mib: int, count: int, rounds: int, rclone: str | None) -> str:
    """Measure all clients; return a table of throughputs."""
    array = np.random.default_rng(0).random(mib << 17)
    array.tofile(folder / "plain")
    took: Rounds = defaultdict(lambda: defaultdict(list))
    with server(folder, rclone) as (endpoint, name):
        variables = {"METAFLOW_S3_ENDPOINT_URL": endpoint, "AWS_ACCESS_KEY_ID": KEY, "AWS_SECRET_ACCESS_KEY": SECRET}
        os.environ.update({**variables, "AWS_DEFAULT_REGION": "us-east-1", "METAFLOW_DEFAULT_METADATA": "local"})
        if name == "moto":
            Boto(endpoint, folder).client.create_bucket(Bucket=BUCKET)
        for number in range(rounds):
            arrays = [np.full(SIZE // 8, number * count + n, float) for n in range(count)]
            order = list(CLIENTS)
            random.Random(number).shuffle(order)
            for who in order:
                place = folder / f"{number}-{order.index(who)}"
                place.mkdir()
                one_round(CLIENTS[who](endpoint, place), array, arrays, folder / "plain", took[who])
                shutil.rmtree(place)
                print(f"round {number + 1}: {who}: {[round(t[-1], 2) for t in took[who].values()]}", file=sys.stderr)
                for left in (folder / "server" / BUCKET).iterdir():
                    shutil.rmtree(left) if left.is_dir() else left.unlink()
    return table(took, mib, count, name)


def one_round(client: Client, array: np.ndarray, arrays: list[np.ndarray], plain: Path, took: dict[str, list[float]]) -> None:
    """Put and get everything once."""

    def timed(what: str, call: Callable[[], object]) -> object:
        os.sync()
        start = time.perf_counter()
        result = call()
        took[what].append(time.perf_counter() - start)
        return result

    if type(client) is not OneByOne:  # for one object it is the same
        timed("put", lambda: client.put_large(array, plain))
        timed("get", client.get_large)
    timed("put many", lambda: client.put_many(arrays))
    assert timed("get many", client.get_many) == len(arrays) * SIZE


def table(took: Rounds, mib: int, count: int, name: str) -> str:
    """Return a table of MiB/s, with shares of what boto3 reaches."""
    amounts = {"put": mib, "get": mib, "put many": count * SIZE / (1 << 20), "get many": count * SIZE / (1 << 20)}
    base = {what: statistics.median(took[BASE][what]) for what in amounts}
    heads = (f"put {mib} MiB", f"get {mib} MiB", f"put {count} x 64 KiB", f"get {count} x 64 KiB")
    lines = [f"| MiB/s (times boto3's), server: {name} | {' | '.join(heads)} |", "|---|---:|---:|---:|---:|"]
    for who, of in sorted(took.items(), key=lambda item: list(CLIENTS).index(item[0])):
        cells = []
        for what, amount in amounts.items():
            if what not in of:
                cells.append("")
                continue
            seconds = statistics.median(of[what])
            cells.append(f"{amount / seconds:.0f} ({base[what] / seconds:.2f})")
        lines.append(f"| {who} | {' | '.join(cells)} |")
    return "\n".join(lines)
