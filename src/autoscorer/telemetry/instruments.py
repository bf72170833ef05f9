"""All instruments. Documents and alert rules are checked against this list."""

from __future__ import annotations

from autoscorer.telemetry.measuring import LONG_S, QUICK_S, REGISTRY, SIZES

_declare = REGISTRY.declare

JOBS_SUBMITTED = _declare(
    "jobs_submitted_total",
    "counter",
    "Jobs that were submitted.",
    "已提交的任务数。",
    labels=("action", "queue"),
)
JOBS_ENDED = _declare(
    "jobs_ended_total",
    "counter",
    "Jobs that ended, how, with which code and by whose fault. One that is retried ends again.",
    "已结束的任务数，按结果、错误代码与责任方区分；重试的任务会再次计数。",
    labels=("action", "state", "code", "blame"),
)
JOB_DURATION = _declare(
    "job_duration_seconds",
    "histogram",
    "From a job's first start to its end.",
    "任务从首次开始到结束的时间。",
    labels=("action",),
    buckets=LONG_S,
)
QUEUE_LATENCY = _declare(
    "queue_latency_seconds",
    "histogram",
    "From a job's submission to its first start.",
    "任务从提交到首次开始的等待时间。",
    labels=("queue",),
    buckets=LONG_S,
)
ATTEMPTS_STARTED = _declare(
    "attempts_started_total", "counter", "Attempts that workers began.", "已开始的尝试数。", labels=("queue",)
)
ATTEMPTS_ENDED = _declare(
    "attempts_ended_total",
    "counter",
    "Attempts that ended: succeeded, failed, cancelled, given back by their worker, or lost with it.",
    "已结束的尝试数：成功、失败、取消、由工作进程交还（given_back）或随之丢失（lost）。",
    labels=("end", "code"),
)
MESSAGES_LOST = _declare(
    "messages_lost_total",
    "counter",
    "Jobs whose message to a worker was lost and that wait again.",
    "消息丢失后重新排队的任务数。",
    labels=("queue",),
)
STAGE_DURATION = _declare(
    "stage_duration_seconds",
    "histogram",
    "Stages of jobs. `execute` is all of a run: `scheduling` (the wait for a node), `pull` of the image, the "
    "program's `run`, what is around.",
    "任务各阶段的时间。`execute` 为整个运行阶段，其中包括 `scheduling`（等待节点）、"
    "`pull`（拉取镜像）与 `run`（程序本身）。",
    labels=("stage",),
    buckets=LONG_S,
)
SCORES = _declare(
    "scores_total",
    "counter",
    "Scorings: computed, served from the cache, or failed, and by whose fault.",
    "评分次数：computed（已计算）、cached（取自缓存）或 failed（失败）及其责任方。",
    labels=("scorer", "outcome", "blame"),
)
SCORER_DURATION = _declare(
    "scorer_duration_seconds",
    "histogram",
    "What scorers took, where they computed.",
    "评分器的计算时间（不含缓存命中）。",
    labels=("scorer",),
    buckets=LONG_S,
)
PROGRAM_CPU = _declare(
    "program_cpu_seconds_total", "counter", "CPU time of submitted programs.", "参赛程序消耗的 CPU 时间。"
)
PROGRAM_MEMORY = _declare(
    "program_peak_memory_bytes",
    "histogram",
    "The most memory that submitted programs held.",
    "参赛程序的内存峰值。",
    buckets=SIZES,
)
WORKER_JOBS = _declare(
    "worker_jobs",
    "gauge",
    "Jobs that this process works on.",
    "本进程正在处理的任务数。",
)
ZYGOTE_RESTARTS = _declare(
    "zygote_restarts_total",
    "counter",
    "Times the process that scorers are forked from had died and was started again.",
    "评分器母进程（zygote）意外结束后被重新启动的次数。",
)
DUTIES_DONE = _declare(
    "duties_done_total",
    "counter",
    "Times a duty of maintenance was done by this process, or failed.",
    "本进程执行维护职责的次数及失败次数。",
    labels=("duty", "outcome"),
)
CALLBACKS_SENT = _declare(
    "callbacks_sent_total",
    "counter",
    "Tries to deliver a callback: delivered, to be tried again, or given up (dead).",
    "回调投递次数：delivered（已送达）、retried（将重试）或 dead（已放弃）。",
    labels=("outcome",),
)
HTTP_REQUESTS = _declare(
    "http_requests_total",
    "counter",
    "Requests to the API by route and status.",
    "API 请求数，按路由与状态码区分。",
    labels=("method", "route", "status"),
)
HTTP_DURATION = _declare(
    "http_request_duration_seconds",
    "histogram",
    "From a request to the first byte of its answer.",
    "从收到请求到返回首字节的时间。",
    labels=("method", "route"),
    buckets=QUICK_S,
)

STORE_UP = _declare(
    "store_up",
    "gauge",
    "1 while the store answers. While it does not, what is read from it is absent.",
    "数据库可用时为 1；不可用时，取自数据库的指标缺失。",
    at_scrape=True,
)
JOBS = _declare(
    "jobs",
    "gauge",
    "Jobs that have not ended. Every process that is asked tells of all, so take the `max`.",
    "尚未结束的任务数。每个被抓取的进程都报告全部任务，因此应取 `max`。",
    labels=("queue", "state"),
    at_scrape=True,
)
OLDEST_WAITING = _declare(
    "oldest_waiting_job_age_seconds",
    "gauge",
    "How long the job that was submitted first has waited; 0 when none waits.",
    "最早提交且仍在排队的任务已等待的时间；无任务排队时为 0。",
    at_scrape=True,
)
OVERDUE = _declare(
    "jobs_overdue",
    "gauge",
    "Jobs whose worker or message is lost and that nobody has taken up again; counted up to 100.",
    "工作进程或消息已丢失、尚未被重新接手的任务数；最多计到 100。",
    at_scrape=True,
)
WORKERS = _declare(
    "workers",
    "gauge",
    "Worker processes that serve a queue: claiming, or paused for want of disk.",
    "服务于某队列的工作进程数：claiming（正常领取）或 paused（因磁盘不足暂停）。",
    labels=("queue", "state"),
    at_scrape=True,
)
WORKER_SLOTS = _declare(
    "worker_slots",
    "gauge",
    "Jobs that all workers can run at once.",
    "全部工作进程可同时运行的任务数。",
    at_scrape=True,
)
CALLBACKS = _declare(
    "callbacks",
    "gauge",
    "Callbacks that are pending, or dead until somebody sends them again.",
    "待投递（pending）与已放弃（dead，需手动重发）的回调数。",
    labels=("state",),
    at_scrape=True,
)
SCORERS = _declare(
    "scorers",
    "gauge",
    "Scorers loaded from files, and files whose latest try to load failed.",
    "从文件加载的评分器数（loaded），以及最近一次加载失败的文件数（failed）。",
    labels=("state",),
    at_scrape=True,
)
DISK_FREE = _declare(
    "disk_free_bytes",
    "gauge",
    "Free space on the disk of WORKSPACE_ROOT (`workspaces`) and of DATA_DIR (`data`).",
    "WORKSPACE_ROOT（`workspaces`）与 DATA_DIR（`data`）所在磁盘的剩余空间。",
    labels=("folder",),
    at_scrape=True,
)
DISK_SIZE = _declare(
    "disk_size_bytes",
    "gauge",
    "Size of those disks.",
    "上述磁盘的容量。",
    labels=("folder",),
    at_scrape=True,
)
DISK_WATERMARK = _declare(
    "disk_watermark_bytes",
    "gauge",
    "MIN_FREE_DISK, or twice MAX_OUTPUT_BYTES if that is more: with less free, workers claim nothing.",
    "MIN_FREE_DISK 与两倍 MAX_OUTPUT_BYTES 中的较大者：剩余空间低于此值时，工作进程不再领取任务。",
    at_scrape=True,
)
MEMORY_AVAILABLE = _declare(
    "machine_memory_available_bytes",
    "gauge",
    "Memory of the machine that can be had.",
    "本机可用内存。",
    at_scrape=True,
)
MEMORY_SIZE = _declare(
    "machine_memory_size_bytes", "gauge", "Memory of the machine.", "本机内存容量。", at_scrape=True
)
MACHINE_CPU = _declare(
    "machine_cpu_seconds_total",
    "counter",
    "CPU time of the machine, all cores, busy and idle.",
    "本机所有核心的 CPU 时间：busy（忙）与 idle（空闲）。",
    labels=("mode",),
    at_scrape=True,
)
BUILD = _declare(
    "build_info",
    "gauge",
    "1; the version is in the label.",
    "恒为 1；版本号见标签。",
    labels=("version",),
    at_scrape=True,
)
