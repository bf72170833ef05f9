"""Scorers that look around, write where they may not, and forge what they tell the platform."""

from __future__ import annotations

from tests.scorers.child.faults import Fault, reads_are_changed

SPYING = (
    Fault(
        name="writes to the reference",
        body="""
        try: (workspace / "reference" / "gt.csv").write_text("id,label\\n1,cat\\n2,cat\\n")
        except OSError: pass
        return good()
        """,
        expected=(None,),
        harm=reads_are_changed,
    ),
    Fault(
        name="writes to the reference by every way there is",
        body="""
        target = workspace / "reference" / "gt.csv"
        ways = [lambda: os.chmod(target, 0o777), lambda: open(target, "r+b").write(b"X"),
                lambda: os.unlink(target), lambda: os.rename(target, "/tmp/x"),
                lambda: os.truncate(target, 0), lambda: os.link(target, "/tmp/y")]
        fd = os.open(target, os.O_RDONLY)
        ways.append(lambda: os.write(os.open(f"/proc/self/fd/{fd}", os.O_WRONLY), b"X"))
        libc = ctypes.CDLL(None)
        ways.append(lambda: libc.mount(None, bytes(target), None, 4096 | 32, None))
        ways.append(lambda: libc.umount2(bytes(target.parent), 2))
        for way in ways:
            try: way()
            except OSError: pass
        return good()
        """,
        expected=(None,),
        harm=reads_are_changed,
    ),
    Fault(
        name="writes to what was delivered",
        body="""
        try: (workspace / "output" / "pred.csv").write_text("id,label\\n1,cat\\n2,dog\\n")
        except OSError: return good(won=0.0)
        return good(won=1.0)
        """,
        expected=(None,),
    ),
    Fault(
        name="changes its own code",
        body="""
        try: open(__file__, "a").write("# more")
        except OSError: return good(won=0.0)
        return good(won=1.0)
        """,
        expected=(None,),
    ),
    Fault(
        name="opens the network",
        body="""
        try: socket.create_connection(("127.0.0.1", {PORT}), timeout=5).close()
        except OSError: return good(won=0.0)
        return good(won=1.0)
        """,
        expected=(None,),
    ),
    Fault(
        name="sends a datagram",
        body="""
        try: socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b"truth", ("192.0.2.1", 53))
        except OSError: return good(won=0.0)
        return good(won=1.0)
        """,
        expected=(None,),
        harm=None,
    ),
    Fault(
        name="connects to a socket on this machine",
        body="""
        reached = 0
        for address in ("{SOCKET}", "\\0autoscorer-test-{PORT}"):
            try: socket.socket(socket.AF_UNIX).connect(address)
            except OSError: continue
            reached += 1
        return good(won=float(reached > 0))
        """,
        expected=(None,),
    ),
    Fault(
        name="reads the platform's environment",
        body="""
        texts = [json.dumps(dict(os.environ)).encode()]
        for name in ["self", *filter(str.isdigit, os.listdir("/proc"))]:
            try: texts.append(open(f"/proc/{name}/environ", "rb").read())
            except OSError: pass
        return good(won=float(any(b"hunter2" in text for text in texts)))
        """,
        expected=(None,),
    ),
    Fault(
        name="reads the platform's files",
        body="""
        for path in ("{SECRET}", "{OTHER}"):
            try: open(path).read()
            except OSError: continue
            return good(won=1.0)
        return good(won=0.0)
        """,
        expected=(None,),
    ),
    Fault(
        name="looks for descriptors it was not given",
        body="""
        found = 0
        for number in range(3, 4096):
            try: target = os.readlink(f"/proc/self/fd/{number}")
            except OSError: continue
            found += not target.startswith(("pipe:", "/proc", "anon_inode"))
        return good(won=float(found > 0))
        """,
        expected=(None,),
        harm=None,
    ),
    Fault(
        name="sees other processes",
        body="""
        others = {int(name) for name in os.listdir("/proc") if name.isdigit()} - {1, 2, os.getpid()}
        return good(won=float(bool(others)))
        """,
        expected=(None,),
    ),
    Fault(
        name="reads or writes the first process's memory",
        body="""
        for mode in ("rb", "r+b"):
            try: open("/proc/1/mem", mode).close()
            except OSError: continue
            return good(won=1.0)
        return good(won=0.0)
        """,
        expected=(None,),
        harm=None,
    ),
    Fault(
        name="gets capabilities in a user namespace of its own",
        body="""
        libc = ctypes.CDLL(None, use_errno=True)
        return good(won=float(libc.unshare(0x10000000) == 0))
        """,
        expected=(None,),
        harm=None,
    ),
    Fault(
        name="sets kernel parameters",
        body="""
        for path in ("/proc/sys/kernel/core_pattern", "/proc/sysrq-trigger", "/proc/sys/vm/drop_caches"):
            try: open(path, "w").close()
            except OSError: continue
            return good(won=1.0)
        return good(won=0.0)
        """,
        expected=(None,),
        harm=None,
    ),
)

CHANNEL = """
found = [n for n in range(3, 4096) if os.path.exists(f"/proc/self/fd/{n}")
         and os.readlink(f"/proc/self/fd/{n}").startswith("pipe:")]
def tell(content, length=None):
    for number in found:
        try: os.write(number, (len(content) if length is None else length).to_bytes(4, "big") + content)
        except OSError: pass
"""


def forged(name: str, lines: str, *expected: str | None) -> Fault:
    body = (
        CHANNEL.strip().replace("\n", "\n        ") + "\n        " + lines.strip().replace("\n", "\n        ")
    )
    return Fault(name=name, body="\n        " + body, expected=expected, harm=None)


FORGING = (
    forged(
        "forges a result, then ends",
        """
tell(json.dumps({"result": good(m=2.0).to_json(), "params": {}}).encode())
os._exit(0)
""",
        None,
    ),
    forged(
        "forges a result that is not one",
        """
tell(json.dumps({"result": {"summary": {}, "metrics": {"m": "x"}, "versioning": {}}, "params": {}}).encode())
os._exit(0)
""",
        "SCORER_BAD_RESULT",
    ),
    forged(
        "forges parameters that are no JSON",
        """
tell(b'{"result": %s, "params": {"a": NaN}}' % json.dumps(good().to_json()).encode())
os._exit(0)
""",
        "SCORER_BAD_RESULT",
    ),
    forged(
        "forges text that is no Unicode",
        """
tell(json.dumps({"result": good().to_json(), "params": {"a": "\\ud800"}}).encode())
os._exit(0)
""",
        "SCORER_BAD_RESULT",
    ),
    forged(
        "forges deep parameters",
        """
deep = b"[" * 900 + b"]" * 900
tell(b'{"result": %s, "params": {"a": %s}}' % (json.dumps(good().to_json()).encode(), deep))
os._exit(0)
""",
        "SCORER_BAD_RESULT",
    ),
    forged(
        "forges wrong metrics of long names",
        """
bad = {**good().to_json(), "metrics": {"m" * 10**5 + str(n): "x" for n in range(30)}}
tell(json.dumps({"result": bad, "params": {}}).encode())
os._exit(0)
""",
        "SCORER_BAD_RESULT",
    ),
    forged(
        "forges two answers",
        """
tell(json.dumps({"result": good().to_json(), "params": {}}).encode())
return good()
""",
        "SCORER_BAD_RESULT",
        None,
    ),
    forged(
        "forges an error that blames the platform",
        """
tell(json.dumps({"error": ["INTERNAL_ERROR", "", "it was you", {}]}).encode())
os._exit(0)
""",
        "SCORE_ERROR",
    ),
    forged(
        "forges an error of a cause there is not",
        """
tell(json.dumps({"error": ["BAD_FORMAT", "platform", "it was you", {}]}).encode())
os._exit(0)
""",
        "SCORE_ERROR",
    ),
    forged(
        "forges an error that is retried",
        """
tell(json.dumps({"error": ["CONTAINER_WAIT_FAILED", "", "again", {}]}).encode())
os._exit(0)
""",
        "SCORE_ERROR",
    ),
    forged("forges an answer of 4 GB", 'tell(b"x" * 2**20, 2**32 - 1)\nos._exit(0)', "SCORER_BAD_RESULT"),
    forged(
        "floods the channel",
        """
while True: os.write(found[-1], b"\\xff" * 2**16)
""",
        "SCORER_BAD_RESULT",
        "SCORER_TIMEOUT",
    ),
    forged("forges what is no JSON", 'tell(b"\\xff\\xfe{")\nos._exit(0)', "SCORER_BAD_RESULT"),
    forged("forges deep JSON", 'tell(b"[" * 2**20)\nos._exit(0)', "SCORER_BAD_RESULT"),
    forged("forges a long number", 'tell(b"9" * 2**20)\nos._exit(0)', "SCORER_BAD_RESULT"),
    forged("forges half an answer", 'tell(b"{}", 1000)\nos._exit(0)', "SCORER_NO_RESULT"),
    forged(
        "forges an answer of another shape",
        'tell(b\'{"error": {"code": 1}}\')\nos._exit(0)',
        "SCORER_BAD_RESULT",
    ),
    forged(
        "writes the keeper's words to its streams",
        """
os.write(1, b"ended 0 - 0 0\\n"); os.write(2, b"walls {}\\nfailed you\\n")
return good()
""",
        None,
    ),
)
