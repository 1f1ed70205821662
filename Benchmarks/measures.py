"""The tests: each takes a started column and returns its figures."""

import json
import os
import re
import subprocess
import time

from proxies import ECHO, HTTP, IPERF
from topology import CLIENT, CLIENT_CPU, HOST, SERVER, SERVER_CPU, SERVER_IP, TUNNEL_PORTS, inside, run, start, wait

TICKS = os.sysconf("SC_CLK_TCK")


def cpu_seconds(*sides):
    """Of the processes of these sides with all their threads, so far."""
    total = 0
    for pid in [pid for side in sides for pid in side]:
        with open(f"/proc/{pid}/stat") as file:
            fields = file.read().rsplit(")", 1)[1].split()
        total += int(fields[11]) + int(fields[12])
    return total / TICKS


def resident(pids):
    """Resident memory in bytes."""
    total = 0
    for pid in pids:
        with open(f"/proc/{pid}/status") as file:
            total += int(re.search(r"VmRSS:\s+(\d+)", file.read())[1]) * 1024
    return total


class Servers:
    """What runs in the server pod: iperf3, nginx and our own echo."""

    def __init__(self, directory, load):
        os.makedirs(directory, exist_ok=True)
        page = os.path.join(directory, "html")
        os.makedirs(page, exist_ok=True)
        with open(os.path.join(page, "index.html"), "w") as file:
            file.write("x" * 1024)
        config = os.path.join(directory, "nginx.conf")
        with open(config, "w") as file:
            file.write(f"""
                daemon off; worker_processes 1; pid {directory}/nginx.pid; error_log {directory}/nginx-error.log;
                worker_rlimit_nofile 100000;
                events {{ worker_connections 40000; }}
                http {{
                    access_log off; keepalive_requests 1000000000; keepalive_timeout 3600s; tcp_nodelay on;
                    open_file_cache max=10;
                    server {{ listen {HTTP} backlog=65535; root {page}; }}
                }}""")
        def server(name, *words):
            return start(os.path.join(directory, name + ".log"), *inside(SERVER, *words, cpu=SERVER_CPU))
        self.processes = [
            server("iperf3", "iperf3", "-s", "-p", IPERF), server("nginx", "nginx", "-c", config, "-p", directory),
            server("echo", load, "serve", ECHO)]
        for port in (IPERF, HTTP, ECHO):
            wait(f"port {port}", lambda: run(*inside(SERVER, "ss", "-tlnH", f"sport = :{port}")) != "", self.processes)


class Test:
    def __init__(self, name, unit, higher, run, needs_drain=False):
        self.name, self.unit, self.higher_is_better, self.run, self.needs_drain = name, unit, higher, run, needs_drain


def client(*words, namespace=CLIENT):
    return run(*inside(namespace, *words, cpu=CLIENT_CPU))


def check(failed, count, what):
    """A proxy that refuses is not fast."""
    if failed * 100 > count:
        raise RuntimeError(f"{failed} {what} failed, {count} did not")


def throughput(streams, reverse):
    def measure(column, options):
        before = cpu_seconds(*column.sides)
        words = ["iperf3", "-c", SERVER_IP, "-p", IPERF, "-t", options.seconds, "-P", streams, "-J"]
        report = json.loads(client(*words, *(["-R"] if reverse else [])))
        end = report.get("end", {}).get("sum_received")
        if not end or not end["bytes"]:
            raise RuntimeError(f"iperf3: {report.get('error', 'it ended without a result')}")
        figures = {"value": end["bits_per_second"] / 1e9}
        if column.tunnelled:
            figures["cpu_per_gb"] = (cpu_seconds(*column.sides) - before) / (end["bytes"] / 1e9)
        return figures
    return measure


UNITS = {"us": 1, "ms": 1e3, "s": 1e6}


def http(connections, keep_alive=True):
    def measure(column, options):
        before = cpu_seconds(*column.sides)
        words = ["wrk", "-t", 1, "-c", connections, "-d", f"{options.seconds}s", "--latency"]
        text = client(*words, *([] if keep_alive else ["-H", "Connection: close"]), f"http://{SERVER_IP}:{HTTP}/index.html")
        def latency(percent):
            found = re.search(percent + r"%\s+([\d.]+)(us|ms|s)\b", text)
            return float(found[1]) * UNITS[found[2]] if found else None
        requests = int(re.search(r"(\d+) requests in", text)[1])
        errors = re.search(r"Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)", text)
        figures = {"value": float(re.search(r"Requests/sec:\s+([\d.]+)", text)[1]), "p50": latency("50"), "p99": latency("99")}
        if errors:
            # wrk counts the end that `Connection: close` announces as a read error.
            figures["errors"] = int(errors[1]) + int(errors[3]) + int(errors[4]) + (int(errors[2]) if keep_alive else 0)
            check(figures["errors"], requests, "requests")
        wrong = re.search(r"Non-2xx or 3xx responses: (\d+)", text)
        check(int(wrong[1]) if wrong else 0, requests, "requests")
        if column.tunnelled and requests:
            figures["cpu_per_request_us"] = (cpu_seconds(*column.sides) - before) / requests * 1e6
        return figures
    return measure


def load(*words, value, columns):
    def measure(column, options):
        before = cpu_seconds(*column.sides)
        figures = json.loads(client(options.load, *[options.seconds if word is SECONDS else word for word in words]))
        check(figures["failed"], figures["count"], "connections")
        result = {"value": figures[value], **{name: figures[name] for name in columns}}
        if column.tunnelled and figures["count"]:
            result["cpu_per_operation_us"] = (cpu_seconds(*column.sides) - before) / figures["count"] * 1e6
        return result
    return measure


SECONDS = object()


def handshakes(clients):
    """Cold ones, straight to the serving side: what its CPU does for each, and how many that makes in a second."""
    def measure(column, options):
        way = column.cold()
        if way is None:
            return None
        protocol, certificate, key, roots = way
        before = cpu_seconds(column.sides[1])
        # From the host, whose connections nobody captures.
        figures = json.loads(client(
            options.handshakes, protocol, SERVER_IP, TUNNEL_PORTS[0], f"{SERVER_IP}:{ECHO}", certificate, key, roots,
            options.seconds, clients, namespace=HOST))
        count = figures["count"]
        check(figures["failed"], count, "handshakes")
        return {"value": figures["rate"], "p50": figures["p50"], "p99": figures["p99"], "failed": figures["failed"],
                "cpu_server_ms": (cpu_seconds(column.sides[1]) - before) / count * 1e3,
                "client_ms": figures["cpu"] / count * 1e3}
    return measure


# Until what is idle is idle: proxies give memory back a moment after they can.
SETTLING = 7


def idle(counts):
    """Resident memory of each side: fresh, and with so many idle connections. The column was just started."""
    def measure(column, options):
        if not column.tunnelled:
            return None
        time.sleep(SETTLING)
        fresh = [resident(side) for side in column.sides]
        figures = {"value": max(fresh) / 2**20, "fresh_mib": [round(bytes / 2**20, 2) for bytes in fresh]}
        for count in counts:
            holder = subprocess.Popen(
                inside(CLIENT, options.load, "idle", SERVER_IP, ECHO, count, cpu=CLIENT_CPU), stdin=subprocess.PIPE,
                stdout=subprocess.PIPE, text=True)
            try:
                opened = holder.stdout.readline()
                if not opened:
                    raise RuntimeError(f"{count} idle connections could not be opened")
                time.sleep(SETTLING)
                held = [resident(side) for side in column.sides]
            finally:
                holder.stdin.close()
                holder.wait()
            figures[f"mib_at_{count}"] = [round(bytes / 2**20, 2) for bytes in held]
            figures[f"bytes_per_connection_at_{count}"] = round(max(
                (after - before) / count for after, before in zip(held, fresh)))
            time.sleep(1)
        return figures
    return measure


CONNECT = dict(value="rate", columns=("p50", "p99", "failed"))

# The first one is for processes that have served nobody yet.
TESTS = [
    Test("memory", "MiB fresh", False, idle((1000, 9000))),
    Test("1 stream", "Gbit/s", True, throughput(1, False)),
    Test("8 streams", "Gbit/s", True, throughput(8, False)),
    Test("1 stream, reverse", "Gbit/s", True, throughput(1, True)),
    Test("8 streams, reverse", "Gbit/s", True, throughput(8, True)),
    Test("HTTP keep-alive, 1 connection", "requests/s", True, http(1)),
    Test("HTTP keep-alive, 16 connections", "requests/s", True, http(16)),
    Test("HTTP keep-alive, 64 connections", "requests/s", True, http(64)),
    Test("HTTP, new connection per request", "requests/s", True, http(16, keep_alive=False), needs_drain=True),
    Test("connect + echo + close, 1 client", "/s", True, load("connect", SERVER_IP, ECHO, SECONDS, 1, **CONNECT), True),
    Test("connect + echo + close, 16 clients", "/s", True, load("connect", SERVER_IP, ECHO, SECONDS, 16, **CONNECT), True),
    Test("cold handshakes, 16 clients", "/s", True, handshakes(16), needs_drain=True),
    Test("ping-pong, 1 connection", "µs p50", False, load("pingpong", SERVER_IP, ECHO, SECONDS, 64, value="p50", columns=("p99",))),
]
