"""What the sidecar container runs: small POSIX shell scripts that any busybox understands.

It sees the data and what the program writes, shares no process and no network service with it, and never
follows a link. What a program can do to it (a tree too deep to walk, no process left to fork) is the
program's fault.
"""

from __future__ import annotations

from autoscorer.executor.base import Limits
from autoscorer.harvest import HarvestPolicy

VOLUMES_AT = "/autoscorer"
LAST_MEMBER = "meta.json"
DATA = "AUTOSCORER_DATA"
UNCOUNTED, SOCKET, OVER_BYTES, OVER_ENTRIES, OVER_DEPTH = 46, 45, 44, 43, 42
BLIND_LOOKS = 5
_WORKSPACE = f"{VOLUMES_AT}/workspace"
_OUTPUT = f"{VOLUMES_AT}/output"
_DEPTH = HarvestPolicy(max_bytes=0).max_depth
_HIDING = ("Permission denied", "File name too long")  # in every tool's words
_HIDES = "|".join(f'*"{words}"*' for words in _HIDING)
# Complaints come among the figures, and a name may look like one: the largest counts. No figure at all is
# somebody's who was killed.
_AT_MOST = (
    "at_most() { most=; while read -r n rest; do "
    f'case "$n $rest" in {_HIDES}) echo "$n $rest" >&2; exit {OVER_BYTES};; esac; '
    'case "$n" in ""|*[!0-9]*) ;; *) [ -n "$most" ] && [ "$n" -le "$most" ] || most=$n;; esac; '
    f'done; [ -n "$most" ] || exit {UNCOUNTED}; [ "$most" -le "$1" ] || exit "$2"; }}; '
)


def await_script(timeout_s: int) -> str:
    """Ends when the data are complete: the runtime starts the next container only then.

    Not later than ``timeout_s``: a kubelet does not let go of a pod while its hook runs.
    """
    tries = timeout_s * 20
    return (
        f"n=0; until [ -d {_WORKSPACE}/output ]; do n=$((n+1)); [ $n -lt {tries} ] || exit 1; "
        "sleep 0.05; done"
    )


def receive_script(size_bytes: int, nonce: str) -> str:
    """Takes a tar of ``size_bytes``, `LAST_MEMBER` its last, from standard input; making output/ is its last
    step. Safe to run again: of an earlier one that was broken off nothing stays.
    """
    coming = f"coming-{nonce}"
    return (
        f"set -e; umask 022; cd {_WORKSPACE}; [ ! -d output ] || exit 0; "
        f"rm -rf coming-* input {LAST_MEMBER}; "
        f"mkdir {coming}; head -c {size_bytes} | tar -x -f - -C {coming}; "
        # A tar that breaks off between two members looks whole to some programs.
        f"[ -f {coming}/{LAST_MEMBER} ]; mv {coming}/input {coming}/{LAST_MEMBER} .; rmdir {coming}; "
        "mkdir output"
    )


def unpack_script(size_bytes: int) -> str:
    """The same with what stands in the variable `DATA`, in base64."""
    return f'printf %s "${DATA}" | base64 -d | {{ {receive_script(size_bytes, "data")}; }}'


def watch_script(limits: Limits) -> str:
    """Runs beside the program and ends with a code of its own as soon as it has written too much.

    Space is counted as it is taken from the disk. A folder that its owner, the program's user and ours, may
    not read, or whose path is too long to name, hides what is in it, so it counts as too much. Whoever counts
    says so himself, at that moment: a program can hear a look begin, and open its folder for any look before
    and after. A mere failure does not count: folders come and go, and others may kill who counts; but what
    lets nobody count `BLIND_LOOKS` times in a row is too much. Of what has no name any more or is moved about
    meanwhile, the harvest judges.
    """
    kib = -(-limits.output_bytes // 1024) + 1024  # what folders and files take besides their content
    return (
        "trap 'exit 0' TERM\n"
        "blind=0\n"
        "while :; do\n"
        "  sleep 1 & wait $!\n"
        f"  ( {_checks(limits.output_entries)}{_at_most(kib, 'du -sk .', OVER_BYTES)})\n"
        f"  code=$?; case $code in 0) blind=0;; {OVER_DEPTH}|{OVER_ENTRIES}|{OVER_BYTES}) exit $code;;\n"
        f"  *) blind=$((blind+1)); [ $blind -lt {BLIND_LOOKS} ] || exit {OVER_BYTES};; esac\n"
        "done\n"
    )


def attend_script(limits: Limits) -> str:
    """`watch_script` from when the data are complete, by which time there is an output to watch."""
    return f"until [ -d {_WORKSPACE}/output ]; do sleep 0.05; done\n{watch_script(limits)}"


def _checks(max_entries: int) -> str:
    """None walks further than what is allowed and one step: the count is first, for it ends by itself."""
    below = f"-mindepth {_DEPTH + 1} -maxdepth {_DEPTH + 1}"
    count = f"find . -mindepth 1 -maxdepth {_DEPTH} | head -n {max_entries + 1} | wc -l"
    return (
        f"cd {_OUTPUT} || exit 1; {_AT_MOST}"
        f"{_at_most(max_entries, count, OVER_ENTRIES)}"
        f"{_at_most(0, f'find . {below} | head -n 1 | wc -l', OVER_DEPTH)}"
    )


def _at_most(number: int, count: str, code: int) -> str:
    """Exit with ``code`` if ``count`` tells of more, with `OVER_BYTES` if something was hidden from it."""
    return f"{{ {count}; }} 2>&1 | at_most {number} {code} || exit $?; "


def send_script(limits: Limits) -> str:
    """Writes a tar of what the program has left to standard output, unless that is too deep or too much.

    Some programs called `tar` leave a socket out without a word.
    """
    return (
        f"{_checks(limits.output_entries)}"
        f'[ -z "$(find . -type s | head -n 1)" ] || exit {SOCKET}; '
        "exec tar -c -f - ."
    )
