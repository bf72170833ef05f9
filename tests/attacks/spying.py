"""Attacks by looking around: truth, secrets, the engine's socket, the kernel, the network."""

from __future__ import annotations

import platform
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from docker.types import Mount

from tests.attacks.arena import Arena
from tests.attacks.case import PYTHON, TRUTH, Attack, Plain, Seen
from tests.executor.attempts import eventually

# The needle comes in two halves, so that the program does not find its own command line.
HUNT = """
import os
needle = (os.environ["HEAD"] + os.environ["TAIL"]).encode()
def holds(path):
    try:
        with open(path, "rb") as file: return needle in file.read(2**20)
    except OSError: return False
for folder, folders, files in os.walk("/"):
    if folder == "/": folders[:] = [name for name in folders if name not in ("proc", "sys", "dev", "usr")]
    for name in files:
        path = os.path.join(folder, name)
        if needle in os.fsencode(name) or os.path.isfile(path) and holds(path): print("WON", path, flush=True)
own = set(filter(str.isdigit, os.listdir("/proc")))
for pid in own:
    for name in ("environ", "cmdline", "mountinfo"):
        if holds(f"/proc/{pid}/{name}"): print("WON", pid, name, flush=True)
for way in ("../reference", "input/../../reference", "output/../../../reference", "/workspace/reference"):
    if os.path.exists(way): print("WON", way, flush=True)
for shm in ("/dev/shm", "/dev/mqueue"):
    for name in os.listdir(shm) if os.path.isdir(shm) else []:
        if holds(f"{shm}/{name}"): print("WON", shm, name, flush=True)
"""
FIND_THE_ENGINE = """
import os, socket, stat
for folder, folders, files in os.walk("/"):
    if folder == "/": folders[:] = [name for name in folders if name not in ("proc", "sys")]
    for path in (os.path.join(folder, name) for name in files):
        try:
            if not stat.S_ISSOCK(os.stat(path).st_mode): continue
            client = socket.socket(socket.AF_UNIX); client.connect(path)
            client.sendall(b"GET /_ping HTTP/1.0\\r\\n\\r\\n")
            if b"200" in client.recv(64): print("WON", path, flush=True)
        except OSError: pass
"""
# /proc/pressure is open to all by the kernel's design: opening it asks to be told of pressure, no more.
WRITE_TO_THE_KERNEL = """
import os, stat
for top in ("/proc", "/sys"):
    for folder, folders, files in os.walk(top):
        if folder == "/proc": folders[:] = [name for name in folders if not name.isdigit()]
        for name in files:
            path = os.path.join(folder, name)
            if path.startswith(("/proc/pressure/", "/proc/self/", "/proc/thread-self/")): continue
            if path in ("/proc/kmsg", "/proc/sysrq-trigger"): continue
            try:
                if stat.S_ISCHR(os.stat(path).st_mode): continue  # masked by /dev/null
                os.close(os.open(path, os.O_WRONLY | os.O_NONBLOCK))
            except OSError: continue
            print("WON", path, flush=True); raise SystemExit
"""
READ_THE_KERNEL = """
import os
for path in ("/proc/kcore", "/proc/keys", "/proc/timer_list", "/proc/sched_debug", "/proc/kallsyms",
             "/dev/mem", "/sys/firmware/dmi/tables/DMI", "/sys/kernel/debug/sched/debug", "/dev/kmsg",
             "/dev/vda"):
    try:
        with open(path, "rb") as file: content = file.read(2**16)
    except OSError: continue
    secret = any(line.split()[0].strip(b"0") for line in content.splitlines() if line.split())
    if content and (secret or not path.endswith("kallsyms")): print("WON", path, flush=True)
"""
BECOME_ROOT = """
import ctypes, os
libc = ctypes.CDLL(None, use_errno=True)
tries = {
    "setuid": lambda: os.setuid(0),
    "mount": lambda: check(libc.mount(b"none", b"/tmp", b"tmpfs", 0, None)),
    "user namespace": lambda: check(libc.unshare(0x10000000)),
    "mount namespace": lambda: check(libc.unshare(0x20000)),
    "chroot": lambda: os.chroot("/tmp"),
    "keyring": lambda: check(libc.syscall(250, 0, -3, 1)),
    "bpf": lambda: check(libc.syscall(321, 0, 0, 0)),
    "write to the root file system": lambda: open("/usr/planted", "w"),
    "write to the input": lambda: open("/workspace/input/data.csv", "w"),
    "write to the spec": lambda: open("/workspace/meta.json", "w"),
}
def check(result):
    if result < 0: raise OSError(ctypes.get_errno(), "refused")
if os.getuid() == 0: print("WON uid 0", flush=True)
for name, attempt in tries.items():
    try: attempt()
    except OSError: continue
    print("WON", name, flush=True)
"""
CALL_THE_KERNEL = """
import ctypes, mmap, os, socket
libc = ctypes.CDLL(None, use_errno=True)
VSOCK, CRYPTO = 40, 38
for family, kind in ((VSOCK, socket.SOCK_STREAM), (CRYPTO, socket.SOCK_SEQPACKET)):
    try: socket.socket(family, kind).close()
    except OSError: continue
    print("WON socket", family, flush=True)
ring = mmap.mmap(-1, 4096)
if libc.syscall(425, 1, ctypes.byref(ctypes.c_char.from_buffer(ring))) >= 0: print("WON io_uring", flush=True)
if libc.syscall(435, None, 0) < 0 and ctypes.get_errno() != 38: print("WON clone3 is judged", flush=True)
if libc.ptrace(0, 0, 0, 0) == 0: print("WON a debugger", flush=True)
"""
# The 32-bit door to the kernel has numbers of its own: push rbx; mov eax, 20 (getpid); int 0x80; pop rbx; ret
CALL_AS_32_BIT = """
import ctypes, mmap
page = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
page.write(bytes.fromhex("53b814000000cd805bc3"))
call = ctypes.CFUNCTYPE(ctypes.c_long)(ctypes.addressof(ctypes.c_char.from_buffer(page)))
if call() > 0: print("WON", flush=True)
"""
LEAVE = """
import os
for folder, _, _ in os.walk("/"):
    if folder.startswith(("/proc", "/sys")): continue
    try: open(os.path.join(folder, "left"), "w").write(os.environ["HEAD"] + os.environ["TAIL"])
    except OSError: pass
"""
# Sends nothing unless loopback is all there is: whatever this container should fail to hold, stays here.
CALL = """
import os, socket
target = os.environ["TARGET"]
kinds = {"TCP": (socket.SOCK_STREAM, "127.0.0.1", 8080), "UDP": (socket.SOCK_DGRAM, "127.0.0.1", 9090),
         "DNS": (socket.SOCK_DGRAM, "127.0.0.1", 53), "metadata": (socket.SOCK_STREAM, "169.254.169.254", 80)}
interfaces = os.listdir("/sys/class/net")
if interfaces != ["lo"]: print("WON another interface", interfaces, flush=True); raise SystemExit
kind, address, port = kinds[target]
with socket.socket(socket.AF_INET, kind) as client:
    client.settimeout(1)
    try:
        client.connect((address, port)); client.sendall(b"GET / HTTP/1.0\\r\\n\\r\\n")
        if client.recv(100): print("WON", target, flush=True)
    except OSError as error: print(error)
"""
LISTEN = """
import selectors, socket, subprocess
subprocess.run(["ip", "addr", "add", "169.254.169.254/32", "dev", "lo"], check=True)
selector = selectors.DefaultSelector()
local, metadata = "127.0.0.1", "169.254.169.254"
for kind, address, port in ((1, local, 8080), (2, local, 9090), (2, local, 53), (1, metadata, 80)):
    listener = socket.socket(socket.AF_INET, kind); listener.bind((address, port))
    if kind == 1: listener.listen()
    selector.register(listener, selectors.EVENT_READ)
print("ready", flush=True)
while True:
    for key, _ in selector.select():
        listener = key.fileobj
        if listener.type == socket.SOCK_STREAM:
            with listener.accept()[0] as client: client.sendall(b"secret")
        else: listener.sendto(b"secret", listener.recvfrom(999)[1])
"""
CALL_THE_HOST = """
import os, socket
loopback, abstract = ("127.0.0.1", int(os.environ["PORT"])), "\\0" + os.environ["NAME"]
for family, address in ((socket.AF_INET, loopback), (socket.AF_UNIX, abstract)):
    try:
        with socket.socket(family) as client: client.settimeout(1); client.connect(address)
        print("WON", family.name, flush=True)
    except OSError as error: print(error)
"""


def halves(needle: str) -> dict[str, str]:
    return {"HEAD": needle[: len(needle) // 2], "TAIL": needle[len(needle) // 2 :]}


@contextmanager
def listeners(arena: Arena) -> Iterator[str]:
    """A network namespace with nothing but loopback, where everything answers; how to join it."""
    container = arena.engine.containers.run(
        PYTHON,
        ["python", "-c", LISTEN],
        network_mode="none",
        cap_add=["NET_ADMIN"],
        detach=True,
        labels={"autoscorer.test": "control"},
    )
    try:
        assert eventually(lambda: b"ready" in container.logs())
        yield f"container:{container.id}"
    finally:
        container.remove(v=True, force=True)


def beside_the_listeners(arena: Arena, attack: Attack) -> Seen:
    """The same call from inside the listeners' namespace."""
    with listeners(arena) as namespace:
        return arena.plain(attack, Plain(options={"network_mode": namespace}))


def call_out(target: str) -> Attack:
    return Attack(
        name=f"network: {target}",
        program=CALL,
        container={"env": {"TARGET": target}},
        expected=(None,),
        control=beside_the_listeners,
    )


def twice_in_one_container(arena: Arena, attack: Attack) -> Seen:
    """The next job amid what the one before left, had it the same container."""
    return arena.plain(replace(attack, program=f"{LEAVE}\n{HUNT}"), Plain())


def sees_the_host() -> Plain:
    """Most of what `--privileged --pid host` gives; all of it is refused where we lack a capability."""
    unconfined = {"security_opt": ["seccomp=unconfined"], "cap_add": ["SYS_PTRACE", "SYS_ADMIN", "SYSLOG"]}
    return Plain(
        options={"pid_mode": "host", **unconfined},
        host_config={"MaskedPaths": [], "ReadonlyPaths": []},
    )


SOCKET = "/var/run/docker.sock"
CALLS_AS_32_BIT = Attack(
    name="calls the kernel as a 32-bit program",
    program=CALL_AS_32_BIT,
    expected=("CONTAINER_EXIT_NONZERO",),
    control=Plain(),
)
ATTACKS = [
    Attack(
        name="hunts for the truth",
        program=HUNT,
        container={"env": halves(TRUTH)},
        expected=(None,),
        control=Plain(one_mount=True),
    ),
    Attack(
        name="looks for the engine's socket",
        program=FIND_THE_ENGINE,
        expected=(None,),
        control=Plain(options={"mounts": [Mount(SOCKET, SOCKET, type="bind")]}),
    ),
    Attack(
        name="writes to /proc and /sys",
        program=WRITE_TO_THE_KERNEL,
        expected=(None,),
        control=sees_the_host(),
    ),
    Attack(
        name="reads the kernel's memory and keys",
        program=READ_THE_KERNEL,
        expected=(None,),
        control=sees_the_host(),
    ),
    Attack(
        name="gains privileges or writes where it may not",
        program=BECOME_ROOT,
        expected=(None,),
        control=sees_the_host(),
    ),
    Attack(
        name="calls the kernel past the walls",
        program=CALL_THE_KERNEL,
        expected=(None,),
        control=Plain(options={"security_opt": ["seccomp=unconfined"]}),
    ),
    *([CALLS_AS_32_BIT] if platform.machine() == "x86_64" else []),
    *(call_out(target) for target in ("TCP", "UDP", "DNS", "metadata")),
]
