"""The filter, run by a small BPF machine of the test's own; its numbers, asked of libseccomp."""

from __future__ import annotations

import ctypes
import errno
import struct

import pytest

from autoscorer.confine.seccomp import DENIED, FILTERED, MACHINES, UNCOUNTED, filter_program

ALLOW = 0x7FFF0000
X86, ARM = MACHINES["x86_64"], MACHINES["aarch64"]


def run_filter(code: bytes, *, arch: int, number: int, arguments: tuple[int, ...] = ()) -> int:
    padded = [*arguments, 0, 0, 0, 0, 0, 0][:6]
    packet = struct.pack("<iIQ6Q", number, arch, 0, *padded)
    instructions = list(struct.iter_unpack("<HBBI", code))
    accumulator, at = 0, 0
    while True:
        operation, yes, no, value = instructions[at]
        at += 1
        if operation == 0x20:
            (accumulator,) = struct.unpack_from("<I", packet, value)
        elif operation == 0x06:
            return int(value)
        else:
            holds = {
                0x15: accumulator == value,
                0x35: accumulator >= value,
                0x45: bool(accumulator & value),
            }[operation]
            at += yes if holds else no


def answer(number: int, *arguments: int, arch: int = X86.audit_arch) -> int:
    return run_filter(filter_program(X86), arch=arch, number=number, arguments=arguments)


def refused(error: int) -> int:
    return 0x00050000 | error


@pytest.mark.parametrize("name", sorted(DENIED))
def test_every_denied_call_is_refused_on_both_machines(name: str) -> None:
    for machine in (X86, ARM):
        number = DENIED[name][machine.column]
        if number is not None:
            code = filter_program(machine)
            assert run_filter(code, arch=machine.audit_arch, number=number) == refused(errno.EPERM)


@pytest.mark.parametrize("name", sorted(UNCOUNTED))
def test_memory_that_only_a_cgroup_would_count_is_refused_where_there_is_none(name: str) -> None:
    for machine in (X86, ARM):
        number = UNCOUNTED[name][machine.column]
        assert number is not None
        for is_counted, expected in ((True, ALLOW), (False, refused(errno.EPERM))):
            code = filter_program(machine, is_memory_counted=is_counted)
            assert run_filter(code, arch=machine.audit_arch, number=number) == expected


@pytest.mark.parametrize(
    ("number", "arguments", "expected"),
    [
        (0, (), ALLOW),  # read
        (59, (), ALLOW),  # execve
        (56, (17,), ALLOW),  # clone as fork does it: SIGCHLD
        (56, (0x3D0F00,), ALLOW),  # clone as pthread_create does it
        (56, (0x10000000 | 17,), refused(errno.EPERM)),  # CLONE_NEWUSER
        (56, (0x00020000 | 17,), refused(errno.EPERM)),  # CLONE_NEWNS
        (435, (), refused(errno.ENOSYS)),  # clone3
        (41, (1,), ALLOW),
        (41, (2,), ALLOW),
        (41, (10,), ALLOW),
        (41, (16,), ALLOW),
        (41, (40,), refused(errno.EAFNOSUPPORT)),  # vsock
        (41, (17,), refused(errno.EAFNOSUPPORT)),  # raw packets
        (16, (1, 0x5413), ALLOW),  # TIOCGWINSZ
        (16, (1, 0x5412), refused(errno.EPERM)),  # TIOCSTI
        (16, (1, 0xFFFFFFFF00005412), refused(errno.EPERM)),  # the kernel looks at the low half only
        (0x40000000 + 101, (), refused(errno.ENOSYS)),  # ptrace by its x32 number
    ],
)
def test_a_call_is_judged_by_its_arguments(number: int, arguments: tuple[int, ...], expected: int) -> None:
    assert answer(number, *arguments) == expected


def test_a_call_in_another_machines_numbers_is_refused() -> None:
    assert answer(0, arch=0x40000003) == refused(errno.ENOSYS)  # i386


def test_the_numbers_are_libseccomps() -> None:
    try:
        library = ctypes.CDLL("libseccomp.so.2")
    except OSError:
        pytest.skip("libseccomp is not installed")
    for name, numbers in {**DENIED, **FILTERED, **UNCOUNTED}.items():
        for machine in (X86, ARM):
            known = library.seccomp_syscall_resolve_name_arch(machine.audit_arch, name.encode())
            assert numbers[machine.column] == (known if known >= 0 else None), name
