"""Two pods on one link, each in a network namespace of its own, and a host that both can reach.

Everything is named with PREFIX, so that what an earlier run left behind (it may have been killed) is found and removed.
"""

import contextlib
import fcntl
import os
import signal
import subprocess
import time

PREFIX = "culvert-bench-"
CLIENT, SERVER, HOST = PREFIX + "client", PREFIX + "server", PREFIX + "host"
CLIENT_IP, SERVER_IP = "10.99.0.10", "10.99.0.20"
# The host's addresses: the authority's and node A's, and node B's, whose proxy serves the same admin ports.
HOST_IPS = ("10.99.0.1", "10.99.0.2")
# HBONE's, and two more for proxies that need a port for each of the application's.
TUNNEL_PORTS = (15008, 15200, 15201)
CLIENT_CPU, SERVER_CPU = 0, 1

_started = []
_claim = []
# Seconds that a run may still wait for others to leave the cores.
_patience = [120]


def run(*words, check=True, limit=60, **options):
    """A command that is to end by itself; its output as text."""
    words = [str(word) for word in words]
    try:
        done = subprocess.run(words, text=True, capture_output=True, timeout=limit, **options)
    except subprocess.TimeoutExpired:
        raise RuntimeError(f"{' '.join(words)}: not done after {limit} s") from None
    if check and done.returncode != 0:
        raise RuntimeError(f"{' '.join(words)}: exit {done.returncode}\n{done.stderr.strip() or done.stdout.strip()}")
    return done.stdout


def inside(namespace, *words, cpu=None, user=None):
    """The words that run a command in a namespace, on one core, as a user."""
    pinned = ["taskset", "-c", str(cpu)] if cpu is not None and os.cpu_count() > 1 else []
    owned = ["setpriv", f"--reuid={user}", "--clear-groups"] if user else []
    return ["ip", "netns", "exec", namespace, *pinned, *owned, *map(str, words)]


def inside_network(namespace, *words, cpu=None, cgroup=None):
    """The same, but in the mounts of the machine, where cgroups and the BPF file system are; in a cgroup of its own if one is named."""
    pinned = ["taskset", "-c", str(cpu)] if cpu is not None and os.cpu_count() > 1 else []
    joined = ["sh", "-c", 'echo 0 > "$0/cgroup.procs" && exec "$@"', cgroup] if cgroup else []
    return ["nsenter", f"--net=/run/netns/{namespace}", *joined, *pinned, *map(str, words)]


def unified():
    """Where the unified hierarchy of cgroups is mounted."""
    with open("/proc/self/mountinfo") as file:
        for line in file:
            fields = line.split()
            if "cgroup2" in fields[fields.index("-"):] and fields[3] == "/":
                return fields[4]
    raise RuntimeError("the unified hierarchy of cgroups is not mounted")


def start(log, *words, **options):
    """A process that runs until `stop`; its output goes to the file."""
    with open(log, "ab") as output:
        # In a session of its own: Ctrl-C is for us, who then end it in order.
        process = subprocess.Popen(words, stdout=output, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL,
                                   start_new_session=True, **options)
    process.log = log
    _started.append(process)
    return process


def stop(processes, limit=5):
    for process in processes:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
    end = time.monotonic() + limit
    for process in processes:
        try:
            process.wait(max(0.1, end - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if process in _started:
            _started.remove(process)


def wait(what, ready, processes=(), limit=40):
    end = time.monotonic() + limit
    while not ready():
        for process in processes:
            if process.poll() is not None:
                raise RuntimeError(f"{what}: {os.path.basename(process.log)} ended with {process.returncode}\n" + tail(process.log))
        if time.monotonic() > end:
            raise RuntimeError(f"{what}: not ready after {limit} s\n" + "\n".join(tail(p.log) for p in processes))
        time.sleep(0.05)


def tail(path, lines=12):
    with contextlib.suppress(OSError), open(path, errors="replace") as text:
        return f"last lines of {path}:\n" + "".join(text.readlines()[-lines:])
    return ""


def congestion_control():
    """What most nodes use, or the nearest that namespaces may: BBR paces, and measures its timers more than any proxy."""
    with open("/proc/sys/net/ipv4/tcp_allowed_congestion_control") as file:
        return "cubic" if "cubic" in file.read().split() else "reno"


def claim():
    """One bench at a time: a new one removes what it finds of an earlier one. Held until the process ends."""
    _claim.append(open("/run/culvert-bench.lock", "w"))
    try:
        fcntl.flock(_claim[0], fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise RuntimeError("another bench is running") from None


def compile(sources, directory, options):
    """Our own clients, `options.load` and `options.handshakes`."""
    for name, libraries in (("load", []), ("handshakes", ["-lssl", "-lcrypto"])):
        setattr(options, name, os.path.join(directory, name))
        run("cc", "-O2", "-o", os.path.join(directory, name), os.path.join(sources, name + ".c"), *libraries)


def build():
    remove()
    for name in (CLIENT, SERVER, HOST):
        run("ip", "netns", "add", name)
        run(*inside(name, "ip", "link", "set", "lo", "up"))
        for sysctl in ("net.ipv4.ip_local_port_range=16384 60999", "net.ipv4.tcp_tw_reuse=1", "net.core.somaxconn=65535",
                       f"net.ipv4.tcp_congestion_control={congestion_control()}"):
            run(*inside(name, "sysctl", "-qw", sysctl))
    # Where the host's kernel has br_netfilter, bridged packets would pay for the host's hooks as well.
    run(*inside(HOST, "sysctl", "-qw", "net.bridge.bridge-nf-call-iptables=0"), check=False)
    run(*inside(HOST, "ip", "link", "add", "br0", "type", "bridge"))
    run(*inside(HOST, "ip", "link", "set", "br0", "up"))
    for address in HOST_IPS:
        run(*inside(HOST, "ip", "address", "add", f"{address}/24", "dev", "br0"))
    for name, address in ((CLIENT, CLIENT_IP), (SERVER, SERVER_IP)):
        port = name.removeprefix(PREFIX)
        run(*inside(HOST, "ip", "link", "add", port, "type", "veth", "peer", "name", "eth0", "netns", name))
        run(*inside(HOST, "ip", "link", "set", port, "master", "br0", "up"))
        run(*inside(name, "ip", "address", "add", f"{address}/24", "dev", "eth0"))
        run(*inside(name, "ip", "link", "set", "eth0", "up"))
    count_wire()


def count_wire():
    """Counts what crosses the server's interface, by whether a tunnel's port is at either end."""
    ports = ", ".join(map(str, TUNNEL_PORTS))
    run(*inside(SERVER, "nft", "-f", "-"), input=f"""
        table inet culvert_bench_wire {{
            counter tunnel {{}}
            counter other {{}}
            chain sort {{
                tcp sport {{ {ports} }} counter name tunnel return
                tcp dport {{ {ports} }} counter name tunnel return
                counter name other
            }}
            chain in {{
                type filter hook prerouting priority -500;
                iifname eth0 meta l4proto tcp jump sort
            }}
            chain out {{
                type filter hook postrouting priority 500;
                oifname eth0 meta l4proto tcp jump sort
            }}
        }}""")


def wire():
    """Packets in the tunnel and beside it, so far."""
    text = run(*inside(SERVER, "nft", "list", "counters", "table", "inet", "culvert_bench_wire"))
    packets = [int(line.split()[1]) for line in text.splitlines() if line.strip().startswith("packets")]
    return packets[0], packets[1]


def remove():
    """Ends what runs in our namespaces, and those: of this run, and of an earlier one that was killed."""
    stop(list(_started), limit=3)
    for name in run("ip", "netns", "list", check=False).split():
        if name.startswith(PREFIX):
            for pid in run("ip", "netns", "pids", name, check=False).split():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(int(pid), signal.SIGKILL)
            run("ip", "netns", "delete", name, check=False)


def busy():
    """(busy, all) ticks of the two cores so far; what the machine's owner took away counts as busy."""
    used = total = 0
    with open("/proc/stat") as file:
        for line in file:
            name, *fields = line.split()
            if name in (f"cpu{CLIENT_CPU}", f"cpu{SERVER_CPU}"):
                ticks = [int(field) for field in fields[:8]]
                total += sum(ticks)
                used += sum(ticks) - ticks[3] - ticks[4]
    return used, total


def quiet(limit=10):
    """Waits until nobody uses the cores; False if somebody still does. All waits of a run together are bounded, too."""
    began = time.monotonic()
    limit = min(limit, _patience[0])
    while True:
        used, total = busy()
        time.sleep(0.2)
        used, total = (after - before for after, before in zip(busy(), (used, total)))
        waited = time.monotonic() - began
        if used <= 0.2 * total or waited > limit:
            _patience[0] = max(0, _patience[0] - waited + 0.2)
            return used <= 0.2 * total


def drained(limit=70):
    """Waits until few connections are left in TIME_WAIT: old ones make new ones slow."""
    end = time.monotonic() + limit
    while time.monotonic() < end:
        waiting = sum(int(run(*inside(name, "sh", "-c", "ss -tanH state time-wait | wc -l"))) for name in (CLIENT, SERVER, HOST))
        if waiting < 500:
            return
        time.sleep(1)


def flush_time_wait():
    """Ends connections in TIME_WAIT at once (SOCK_DESTROY), where the kernel can."""
    for name in (CLIENT, SERVER, HOST):
        run(*inside(name, "ss", "-K", "-tanH", "state", "time-wait"), check=False)
    drained()
