"""The system-call filter of the sandbox: classic BPF, as bubblewrap loads it.

It takes away what no submission needs and what attacks on the kernel start from: keyrings, bpf,
io_uring, userfaultfd, tracing, mounts, namespaces, sockets other than Unix and IP (a vsock reaches the
hypervisor past every network namespace), typing into a terminal. All else is allowed: capabilities and
namespaces are the wall, this is the second one. The shape follows flatpak's filter and Docker's default.
"""

from __future__ import annotations

import errno
import os
import struct
from dataclasses import dataclass

# linux/filter.h, linux/seccomp.h
_LOAD, _EQUAL, _AT_LEAST, _ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_ALLOW, _ERRNO = 0x7FFF0000, 0x00050000
_AT_NUMBER, _AT_ARCH, _AT_ARGUMENT = 0, 4, 16
_X32 = 0x40000000
CLONE_NEW_NAMESPACE = 0x7E020080
CLONE_PARENT = 0x8000  # what is born that way is taken in by whoever keeps the program, if at all
_IOCTL_TIOCSTI, _IOCTL_TIOCLINUX = 0x5412, 0x541C
SOCKET_FAMILIES = (1, 2, 10, 16)  # AF_UNIX, AF_INET, AF_INET6, AF_NETLINK


@dataclass(frozen=True, kw_only=True)
class Machine:
    """``column`` is the machine's place in the tables of numbers below."""

    audit_arch: int
    column: int


MACHINES = {
    "x86_64": Machine(audit_arch=0xC000003E, column=0),
    "aarch64": Machine(audit_arch=0xC00000B7, column=1),
}
# name: numbers on x86_64 and aarch64, None where there is no such call; a test asks libseccomp
FILTERED: dict[str, tuple[int, int | None]] = {
    "clone": (56, 220),
    "clone3": (435, 435),
    "ioctl": (16, 29),
    "socket": (41, 198),
}
DENIED: dict[str, tuple[int, int | None]] = {
    "acct": (163, 89),
    "add_key": (248, 217),
    "adjtimex": (159, 171),
    "bpf": (321, 280),
    "chroot": (161, 51),
    "clock_adjtime": (305, 266),
    "clock_settime": (227, 112),
    "delete_module": (176, 106),
    "fanotify_init": (300, 262),
    "finit_module": (313, 273),
    "fsconfig": (431, 431),
    "fsmount": (432, 432),
    "fsopen": (430, 430),
    "fspick": (433, 433),
    "init_module": (175, 105),
    "io_uring_enter": (426, 426),
    "io_uring_register": (427, 427),
    "io_uring_setup": (425, 425),
    "ioperm": (173, None),
    "iopl": (172, None),
    "kcmp": (312, 272),
    "kexec_file_load": (320, 294),
    "kexec_load": (246, 104),
    "keyctl": (250, 219),
    "lookup_dcookie": (212, 18),
    "migrate_pages": (256, 238),
    "modify_ldt": (154, None),
    "mount": (165, 40),
    "mount_setattr": (442, 442),
    "move_mount": (429, 429),
    "move_pages": (279, 239),
    "name_to_handle_at": (303, 264),
    "open_by_handle_at": (304, 265),
    "open_tree": (428, 428),
    "perf_event_open": (298, 241),
    "pidfd_getfd": (438, 438),
    "pivot_root": (155, 41),
    "process_madvise": (440, 440),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "ptrace": (101, 117),
    "quotactl": (179, 60),
    "quotactl_fd": (443, 443),
    "reboot": (169, 142),
    "request_key": (249, 218),
    "setdomainname": (171, 162),
    "sethostname": (170, 161),
    "setns": (308, 268),
    "settimeofday": (164, 170),
    "swapoff": (168, 225),
    "swapon": (167, 224),
    "syslog": (103, 116),
    "umount2": (166, 39),
    "unshare": (272, 97),
    "userfaultfd": (323, 282),
    "vhangup": (153, 58),
}

# Memory that belongs to no process and lies in no folder: where no cgroup counts it, nobody would.
UNCOUNTED: dict[str, tuple[int, int | None]] = {
    "memfd_create": (319, 279),
    "memfd_secret": (447, 447),
    "shmget": (29, 194),
}


def filter_program(machine: Machine, *, is_memory_counted: bool = True) -> bytes:
    """The filter as an array of ``struct sock_filter``."""
    code = [
        _instruction(_LOAD, _AT_ARCH),
        _instruction(_EQUAL, machine.audit_arch, yes=1),
        _refuse(errno.ENOSYS),
        _instruction(_LOAD, _AT_NUMBER),
        _instruction(_AT_LEAST, _X32, no=1),
        _refuse(errno.ENOSYS),
    ]
    for numbers in (DENIED if is_memory_counted else DENIED | UNCOUNTED).values():
        number = numbers[machine.column]
        if number is not None:
            code += [_instruction(_EQUAL, number, no=1), _refuse(errno.EPERM)]
    code += _rule(
        machine, "clone3", [_refuse(errno.ENOSYS)]
    )  # its flags are behind a pointer; libc uses clone
    refused = CLONE_NEW_NAMESPACE | CLONE_PARENT
    code += _rule(
        machine,
        "clone",
        [_argument(0), _instruction(_ANY_BIT, refused, no=1), _refuse(errno.EPERM), _allow()],
    )
    families = [_instruction(_EQUAL, family, no=1) + _allow() for family in SOCKET_FAMILIES]
    code += _rule(machine, "socket", [_argument(0), *families, _refuse(errno.EAFNOSUPPORT)])
    requests = [
        _instruction(_EQUAL, request, no=1) + _refuse(errno.EPERM)
        for request in (_IOCTL_TIOCSTI, _IOCTL_TIOCLINUX)
    ]
    code += _rule(machine, "ioctl", [_argument(1), *requests, _allow()])
    return b"".join([*code, _allow()])


def own_filter(*, is_memory_counted: bool = True) -> bytes | None:
    """The filter for this machine; None where we have no table of its calls.

    Unless ``is_memory_counted`` by a cgroup, memory is refused that only a cgroup would see.
    """
    machine = MACHINES.get(os.uname().machine)
    return filter_program(machine, is_memory_counted=is_memory_counted) if machine else None


def _rule(machine: Machine, name: str, body: list[bytes]) -> list[bytes]:
    """``body`` for the call ``name``, skipped for every other; a body ends in a return."""
    number = FILTERED[name][machine.column]
    content = b"".join(body)
    return [] if number is None else [_instruction(_EQUAL, number, no=len(content) // 8), content]


def _argument(index: int) -> bytes:
    """Load the low half of an argument; both machines are little-endian."""
    return _instruction(_LOAD, _AT_ARGUMENT + 8 * index)


def _instruction(operation: int, value: int, *, yes: int = 0, no: int = 0) -> bytes:
    return struct.pack("<HBBI", operation, yes, no, value)


def _refuse(error: int) -> bytes:
    return _instruction(_RETURN, _ERRNO | error)


def _allow() -> bytes:
    return _instruction(_RETURN, _ALLOW)
