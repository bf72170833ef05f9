"""What a scorer can do to the platform, as data: its code, its verdicts, the harm it does without us.

A body ends with ``return good(won=1.0)`` where it got what it wanted. ``{SECRET}``, ``{OTHER}``, ``{PORT}``
and ``{SOCKET}`` stand for a file of the platform, another view's truth, a listener on this machine and a
listening socket in /tmp; the environment of the platform holds the text ``hunter2``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from tests.scorers.child.unguarded import Outcome

Harm = Callable[[Outcome], bool]


def won(outcome: Outcome) -> bool:
    """The scorer says that it got what it wanted."""
    return outcome.metrics.get("won") == 1.0


def never_ends(outcome: Outcome) -> bool:
    return outcome.timed_out


def host_dies(outcome: Outcome) -> bool:
    """The process that called the scorer ended before it could go on."""
    return not outcome.timed_out and not outcome.went_on


def next_score_is_wrong(outcome: Outcome) -> bool:
    """The process goes on, and what it does next is spoilt."""
    return not outcome.timed_out and outcome.next_metrics != {"accuracy": 0.5}


def stays(outcome: Outcome) -> bool:
    """Something of the scorer runs on after its end."""
    return outcome.left_running


def host_prints(outcome: Outcome) -> bool:
    """What the scorer prints is on the platform's standard output."""
    return b"spam" in outcome.stdout


def reads_are_changed(outcome: Outcome) -> bool:
    """The truth is another one afterwards."""
    return outcome.truth_changed


def takes_memory(outcome: Outcome) -> bool:
    """More than the 300 MiB that a scorer is allowed here."""
    return outcome.peak_bytes > 300 * 2**20


@dataclass(frozen=True, kw_only=True)
class Fault:
    """``expected`` are the codes it may end with, None among them if it may succeed.

    ``harm`` is tried without the guard; None where there is no guard to take off (a wrong result is
    refused by the same check everywhere). ``settings`` change the limits. ``says`` stands in the message.
    """

    name: str
    body: str
    expected: tuple[str | None, ...]
    harm: Harm | None = won
    settings: dict[str, Any] = field(default_factory=dict)
    says: str = ""


SHORT = {"scorer_time_limit_s": 4}  # what is scored before and after has it too, on a busy machine

ENDINGS = (
    Fault(
        name="endless loop",
        body="while True: pass",
        expected=("SCORER_TIMEOUT",),
        harm=never_ends,
        settings=SHORT,
    ),
    Fault(
        name="sleeps, deaf to signals",
        body="""
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP): signal.signal(number, signal.SIG_IGN)
        time.sleep(1000)
        """,
        expected=("SCORER_TIMEOUT",),
        harm=never_ends,
        settings=SHORT,
    ),
    Fault(
        name="os._exit(0)",
        body="os._exit(0)",
        expected=("SCORER_NO_RESULT",),
        harm=host_dies,
    ),
    Fault(name="os._exit(3)", body="os._exit(3)", expected=("SCORER_CRASH",), harm=host_dies, says="code 3"),
    Fault(name="sys.exit", body="sys.exit(0)", expected=("SCORE_ERROR",), harm=None, says="SystemExit"),
    Fault(
        name="segfault",
        body="ctypes.string_at(0)",
        expected=("SCORER_CRASH",),
        harm=host_dies,
        says="SIGSEGV",
    ),
    Fault(name="abort", body="os.abort()", expected=("SCORER_CRASH",), harm=host_dies, says="SIGABRT"),
    Fault(
        name="kills itself",
        body="os.kill(os.getpid(), signal.SIGKILL)",
        expected=("SCORER_CRASH",),
        harm=host_dies,
        says="SIGKILL",
    ),
    Fault(
        name="native panic",
        body="""
        class PanicException(BaseException): pass
        raise PanicException("called unwrap on a None value")
        """,
        expected=("SCORE_ERROR",),
        harm=None,
        says="PanicException",
    ),
    Fault(
        name="raises on odd input",
        body="""
        value = int((workspace / "output" / "pred.csv").read_text().split(",")[1])
        """,
        expected=("SCORE_ERROR",),
        harm=None,
        says="(odd.py, line 18)",
    ),
    Fault(
        name="endless recursion",
        body="""
        def down(): return down()
        down()
        """,
        expected=("SCORE_ERROR",),
        harm=None,
        says="RecursionError",
    ),
    Fault(
        name="native stack overflow",
        body="""
        sys.setrecursionlimit(10**9)
        def down(depth): return (lambda: down(depth + 1))()
        import functools
        f = lambda: None
        for _ in range(10**6): f = functools.partial(f)
        del f
        os.abort()
        """,
        expected=("SCORER_CRASH",),
        harm=host_dies,
    ),
)

MEMORY = (
    Fault(
        name="100 GB at once",
        body="x = bytearray(100 * 2**30)",
        expected=("SCORER_MEMORY",),
        harm=None,
    ),
    Fault(
        name="memory, a little at a time",
        body="""
        kept = []
        for _ in range(30): kept.append(b"x" * 2**24)
        return good()
        """,
        expected=("SCORER_MEMORY",),
        harm=takes_memory,
    ),
    Fault(
        name="memory of many processes",
        body="""
        for _ in range(5):
            if os.fork() == 0:
                kept = b"x" * 90 * 2**20
                time.sleep(30)
                os._exit(0)
        kept = b"x" * 90 * 2**20
        time.sleep(30)
        """,
        expected=("SCORER_MEMORY", "SCORER_TIMEOUT"),
        harm=None,
        settings=SHORT,
    ),
    Fault(
        name="memory in files of /tmp and /dev/shm",
        body="""
        for folder in ("/tmp", "/dev/shm"):
            with open(folder + "/autoscorer-fill", "wb") as file:
                for _ in range(40): file.write(b"x" * 2**24)
        """,
        expected=("SCORER_MEMORY", "SCORE_ERROR"),
        harm=None,
    ),
    Fault(
        name="artifacts without end",
        body="""
        folder = workspace / "output" / "artifacts"
        folder.mkdir(exist_ok=True)
        for number in range(10**6):
            (folder / str(number)).write_bytes(b"x" * 2**20)
        """,
        expected=("SCORER_BAD_RESULT", "SCORE_ERROR"),
        harm=None,
        settings={"scorer_max_output_bytes": 8 * 2**20},
    ),
    Fault(
        name="many small artifacts",
        body="""
        folder = workspace / "output" / "artifacts"
        folder.mkdir(exist_ok=True)
        for number in range(1500): (folder / str(number)).touch()
        return good(won=1.0)
        """,
        expected=("SCORER_BAD_RESULT",),
    ),
    Fault(
        name="one file larger than the limit",
        body="""
        folder = workspace / "output" / "artifacts"
        folder.mkdir(exist_ok=True)
        with open(folder / "large", "wb") as file: os.posix_fallocate(file.fileno(), 0, 2**26)
        return good(won=1.0)
        """,
        expected=("SCORE_ERROR", "SCORER_BAD_RESULT"),
        settings={"scorer_max_output_bytes": 8 * 2**20},
    ),
)

STREAMS = (
    Fault(
        name="prints without end",
        body="""
        while True: os.write(1, b"spam" * 2**14)
        """,
        expected=("SCORER_TIMEOUT",),
        harm=host_prints,
        settings=SHORT,
    ),
    Fault(
        name="prints a little",
        body="""
        os.write(1, b"spam"); os.write(2, b"\\x1b[2Jspam")
        return good()
        """,
        expected=(None,),
        harm=host_prints,
    ),
    Fault(
        name="closes all descriptors",
        body="""
        os.closerange(0, 4096)
        return good()
        """,
        expected=("SCORER_NO_RESULT", "SCORER_CRASH"),
        harm=next_score_is_wrong,
    ),
    Fault(
        name="replaces stdout by something else",
        body="""
        class Evil:
            def __getattr__(self, name): raise SystemExit(7)
        sys.stdout = sys.stderr = Evil()
        return good()
        """,
        expected=(None, "SCORER_NO_RESULT"),
        harm=host_dies,
    ),
)

PATCHES = (
    Fault(
        name="patches json",
        body="""
        json.dumps = lambda *a, **k: "{}"
        json.loads = lambda *a, **k: {}
        return good()
        """,
        expected=(None, "SCORER_BAD_RESULT"),
        harm=next_score_is_wrong,
    ),
    Fault(
        name="patches builtins",
        body="""
        import builtins
        builtins.len = lambda thing: 42
        builtins.isinstance = lambda *a: True
        return good()
        """,
        expected=(None, "SCORE_ERROR", "SCORER_BAD_RESULT", "SCORER_NO_RESULT", "SCORER_CRASH"),
        harm=next_score_is_wrong,
    ),
    Fault(
        name="patches the registry",
        body="""
        from autoscorer.scorers.registry import registry
        registry._scorers["classification_accuracy"] = self
        return good()
        """,
        expected=(None,),
        harm=next_score_is_wrong,
    ),
    Fault(
        name="patches the code that checks results",
        body="""
        from autoscorer.scorers import invoke
        from autoscorer.scorers.child import frames, verdicts
        Result.model_validate = classmethod(lambda cls, value: value)
        verdicts.judge = lambda *a, **k: {}
        bad = Result.model_construct(summary={}, metrics={"m": float("inf")}, versioning={})
        return bad
        """,
        expected=("SCORER_BAD_RESULT", "SCORER_CRASH"),
        harm=next_score_is_wrong,
    ),
)

PROCESSES = (
    Fault(
        name="thread that never ends",
        body="""
        threading.Thread(target=lambda: [time.sleep(0.01) for _ in range(10**6)]).start()
        return good()
        """,
        expected=(None,),
        harm=never_ends,
    ),
    Fault(
        name="daemon",
        body="""
        if os.fork() == 0:
            os.setsid()
            if os.fork() == 0:
                os.closerange(0, 4096)
                time.sleep(60)
            os._exit(0)
        os.wait()
        return good()
        """,
        expected=(None,),
        harm=stays,
    ),
    Fault(
        name="daemon that holds its streams",
        body="""
        if os.fork() == 0:
            os.setsid()
            time.sleep(60)
            os._exit(0)
        return good()
        """,
        expected=(None,),
        harm=stays,
    ),
    Fault(
        name="fork bomb",
        body="""
        while True:
            try: os.fork()
            except OSError: pass
        """,
        expected=("SCORER_TIMEOUT", "SCORER_MEMORY", "SCORER_CRASH"),
        harm=None,
        settings=SHORT,
    ),
    Fault(
        name="threads without end",
        body="""
        for _ in range(10**5): threading.Thread(target=time.sleep, args=(100,), daemon=True).start()
        return good(won=1.0)
        """,
        expected=("SCORE_ERROR", "SCORER_MEMORY", "SCORER_TIMEOUT"),
        harm=None,
        settings=SHORT,
    ),
    Fault(
        name="kills its parent and everybody it may",
        body="""
        for pid in (os.getppid(), -1):
            try: os.kill(pid, signal.SIGKILL)
            except OSError: pass
        return good()
        """,
        expected=(None, "SCORER_CRASH"),
        harm=None,
    ),
)

RESULTS = tuple(
    Fault(name=name, body=body, expected=expected, harm=None)
    for name, body, expected in (
        ("NaN", 'return good(m=float("nan"))', ("SCORER_BAD_RESULT",)),
        ("infinity", 'return good(m=float("-inf"))', ("SCORER_BAD_RESULT",)),
        (
            "NaN past the check",
            """
        found = good()
        found.metrics["m"] = float("nan")
        return found
        """,
            ("SCORER_BAD_RESULT",),
        ),
        ("numpy scalars", "import numpy\nreturn good(m=numpy.float32(0.5))", (None, "SCORER_BAD_RESULT")),
        (
            "a hundred thousand metrics of long names",
            """
        return good(**{f"{'m' * 100}{number}": 1.0 for number in range(100_000)})
        """,
            ("SCORER_BAD_RESULT",),
        ),
        (
            "deeply nested",
            """
        deep = {}
        for _ in range(100_000): deep = {"a": deep}
        return Result.model_construct(summary={}, metrics={}, artifacts={}, timing={}, resources={},
                                      versioning={}, error=deep)
        """,
            ("SCORER_BAD_RESULT", "SCORE_ERROR", "SCORER_CRASH"),
        ),
        ("missing keys", "return Result(summary={}, metrics={}, versioning={})", ("SCORER_BAD_RESULT",)),
        ("a dictionary", 'return {"summary": {}, "metrics": {"m": 1.0}}', ("SCORER_BAD_RESULT",)),
        ("a number", "return 0.5", ("SCORER_BAD_RESULT",)),
        ("nothing", "return None", ("SCORER_NO_RESULT",)),
        (
            "a subclass that lies",
            """
        class Liar(Result):
            def model_dump(self, **options): return {"summary": {}, "metrics": {"m": "x" * 10**6}}
        return Liar(summary={}, metrics={}, versioning=good().versioning)
        """,
            ("SCORER_BAD_RESULT",),
        ),
        ("blames the platform", 'raise AutoscorerError("INTERNAL_ERROR", "it was you")', ("SCORE_ERROR",)),
        ("blames the queue", 'raise AutoscorerError("ATTEMPTS_EXHAUSTED", "again")', ("SCORE_ERROR",)),
        ("a message of 10 MB", 'raise ValueError("x" * 10**7)', ("SCORE_ERROR",)),
    )
)
