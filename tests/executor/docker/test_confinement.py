"""A container prints its own confinement; field by field it is what the golden file says."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.executor.docker.containers import BUSYBOX, container_plan, docker, run_container

pytestmark = [pytest.mark.docker, pytest.mark.slow]

GOLDEN = Path(__file__).resolve().parents[2] / "golden" / "docker_confinement.json"
MIB = 2**20

# One line a field. Only what a shell and /proc can say: nothing of ours has a part in the answer.
PRINT_CONFINEMENT = r"""
say() { printf '%s\t%s\n' "$1" "$2"; }
for field in CapInh CapPrm CapEff CapBnd CapAmb NoNewPrivs Seccomp Groups; do
  say "$field" "$(sed -n "s/^$field:[[:space:]]*//p" /proc/self/status)"
done
say uid "$(id -u)"; say gid "$(id -g)"; say hostname "$(hostname)"; say directory "$(pwd)"
say init "$(tr '\0' ' ' < /proc/1/cmdline | cut -d' ' -f1)"
say interfaces "$(sed -n 's/^ *\([^:]*\):.*/\1/p' /proc/net/dev | sort | xargs)"
say loopback "$(ifconfig lo | grep -o 'UP LOOPBACK')"
say localhost "$(sed -n 's/ localhost$//p' /etc/hosts | xargs)"
say routes "$(tail -n +2 /proc/net/route | wc -l)"
say open_files "$(ulimit -n)"; say core_bytes "$(ulimit -c)"
say oom_score_adj "$(cat /proc/self/oom_score_adj)"
group() { cat "/sys/fs/cgroup/$1" 2>/dev/null || cat "/sys/fs/cgroup/$2"; }
say memory_bytes "$(group memory/memory.limit_in_bytes memory.max)"
say processes "$(group pids/pids.max pids.max)"
quota=$(cat /sys/fs/cgroup/cpu/cpu.cfs_quota_us 2>/dev/null || cut -d' ' -f1 /sys/fs/cgroup/cpu.max)
say cpu_quota_us "$quota"
swap=$(cat /sys/fs/cgroup/memory/memory.memsw.limit_in_bytes 2>/dev/null)
[ -n "$swap" ] || swap=$(( $(cat /sys/fs/cgroup/memory.swap.max) + $(cat /sys/fs/cgroup/memory.max) ))
say memory_and_swap_bytes "$swap"
for place in / /tmp /workspace /workspace/input /workspace/output /workspace/meta.json /dev/shm; do
  say "mount $place" "$(awk -v p="$place" '$5 == p { split($6, o, ","); kind = ""
    for (i = 7; i <= NF; i++) if ($i == "-") kind = $(i + 1)
    flags = o[1]; for (i in o) if (o[i] ~ /^no(suid|dev|exec)$/) have[o[i]] = 1
    if (have["nosuid"]) flags = flags " nosuid"; if (have["nodev"]) flags = flags " nodev"
    if (have["noexec"]) flags = flags " noexec"; print flags }' /proc/self/mountinfo | tail -n 1)"
done
say tmp_bytes "$(df -k /tmp | awk 'NR == 2 { print $2 * 1024 }')"
say shm_bytes "$(df -k /dev/shm | awk 'NR == 2 { print $2 * 1024 }')"
writable=""
for folder in $(find / -path /proc -prune -o -path /sys -prune -o -type d -print | sort); do
  if (: > "$folder/.probe") 2>/dev/null; then rm "$folder/.probe"; writable="$writable $folder"; fi
done
say writable_folders "$(echo $writable)"
files=""
for file in /workspace/meta.json /workspace/input/data.csv /etc/hosts /etc/hostname /etc/resolv.conf \
  /proc/sys/kernel/core_pattern /proc/sysrq-trigger; do
  if (: >> "$file") 2>/dev/null; then files="$files $file"; fi
done
say writable_files "$(echo $files)"
say block_devices "$(find /dev -type b | wc -l)"
say engine_socket "$(find / -name 'docker.sock' 2>/dev/null | wc -l)"
say truth "$(find / -path /proc -prune -o -name reference -print 2>/dev/null | wc -l)"
say environment "$(env | cut -d= -f1 | sort | xargs)"
say new_user_namespace "$(unshare -U true 2>/dev/null && echo made || echo refused)"
"""


def confinement(text: str) -> dict[str, str]:
    rows = (line.split("\t", 1) for line in text.splitlines())
    return {row[0]: row[1].strip() for row in rows if len(row) == 2}


def test_a_container_is_confined_as_the_golden_file_says(tmp_path: Path) -> None:
    plan = container_plan(
        tmp_path, PRINT_CONFINEMENT, cpu_cores=1.5, memory_bytes=128 * MIB, shm_bytes=8 * MIB, processes=100
    )
    ran = run_container(plan)
    assert ran.code is None, ran.log
    assert confinement(ran.log.decode()) == json.loads(GOLDEN.read_text())


def test_control_the_same_program_in_a_plain_container_finds_most_of_it_open() -> None:
    plain = ("run", "--rm", "--network", "none", "--workdir", "/tmp", BUSYBOX)
    printed = confinement(docker(*plain, "sh", "-c", PRINT_CONFINEMENT))
    golden = json.loads(GOLDEN.read_text())
    differing = {field for field, value in golden.items() if printed.get(field) != value}
    assert {"uid", "CapEff", "CapBnd", "NoNewPrivs", "memory_bytes", "processes"} <= differing
    assert {"writable_folders", "cpu_quota_us", "init"} <= differing
