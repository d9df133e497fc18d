"""Every metric there is, once: name, meaning, labels. `docs/operations.md` has a row for each. Who counts imports it."""

from __future__ import annotations

from opencph import metrics
from opencph.metrics import QUICK_SECONDS, Counter, Gauge, Histogram

_API, _WORKER, _GATEWAY = ("api",), ("worker",), ("gateway",)
_EVERY = _API + _WORKER + _GATEWAY
_WHOLE: tuple[str, ...] = ()

# --- api, counted by the process ----------------------------------------

REQUESTS = Counter(
    "opencph_http_requests_total",
    "Requests answered, by operation, method and class of status.",
    ("operation", "method", "status"),
    by=_API,
)
REQUEST_SECONDS = Histogram(
    "opencph_http_request_duration_seconds",
    "From a request's head to its answer, by operation.",
    ("operation",),
    bounds=QUICK_SECONDS,
    by=_API,
)
REQUESTS_IN_FLIGHT = Gauge("opencph_http_requests_in_flight", "Requests being answered at the moment.", by=_API)

# --- worker, counted by the process ----------------------------------------

JOBS = Counter(
    "opencph_jobs_ended_total", "Jobs that ended, by kind and outcome (succeeded, failed).", ("kind", "outcome"), by=_WORKER
)
JOB_SECONDS = Histogram("opencph_job_duration_seconds", "From a job's acceptance to its end, by kind.", ("kind",), by=_WORKER)
JOB_LANES_BUSY = Gauge("opencph_worker_lanes_busy", "Batches of jobs that this worker is working on.", by=_WORKER)
BOOTS = Counter("opencph_phone_boots_total", "Boots of phones, by outcome (running, failed).", ("outcome",), by=_WORKER)
BOOT_SECONDS = Histogram(
    "opencph_phone_boot_duration_seconds",
    "How long boots of phones took that succeeded.",
    bounds=metrics.BOOT_SECONDS,
    by=_WORKER,
)
COMMANDS = Counter(
    "opencph_phone_commands_total",
    "ADB commands carried out in phones, by command and outcome (done, failed).",
    ("command", "outcome"),
    by=_WORKER,
)
RECOVERIES = Counter(
    "opencph_reconciler_recoveries_total",
    "What was found not to be as it should: servers with phones that are down (server), phones of no server (stranger).",
    ("what",),
    by=_WORKER,
)

# --- gateway, counted by the process ----------------------------------------

TUNNELS_OPEN = Gauge("opencph_tunnels_open", "SSH clients that are logged in.", by=_GATEWAY)
TUNNELS = Counter("opencph_tunnels_total", "SSH clients that logged in.", by=_GATEWAY)
LOGINS_REFUSED = Counter(
    "opencph_tunnel_logins_refused_total",
    "SSH clients that were not let in: without the right key (key), or because too many are there (crowded).",
    ("why",),
    by=_GATEWAY,
)
MAPPINGS_OPEN = Gauge("opencph_mappings_open", "Addresses and ports that lead to phones.", by=_GATEWAY)
ADDRESSES_MISSING = Gauge(
    "opencph_gateway_addresses_missing", "Addresses and ports that should be open and cannot be opened.", by=_GATEWAY
)
CONNECTIONS_OPEN = Gauge("opencph_mapping_connections_open", "Connections that run through port mappings.", by=_GATEWAY)
CONNECTIONS = Counter("opencph_mapping_connections_total", "Connections that came to port mappings.", by=_GATEWAY)
BYTES = Counter(
    "opencph_gateway_bytes_total",
    "Bytes moved, by way (mapping, tunnel) and direction (in: to the phone, out: from it).",
    ("way", "direction"),
    by=_GATEWAY,
)

# --- every process ----------------------------------------

STORE_ERRORS = Counter(
    "opencph_database_errors_total",
    "Times the database was locked or overloaded (busy) or could not be used (unavailable).",
    ("kind",),
    by=_EVERY,
)
LOG_LOST = Counter("opencph_log_lines_lost_total", "Lines that the log file could not take.", by=_EVERY)
PROCESS_START = Gauge("opencph_process_start_time_seconds", "When the process started, in seconds since the epoch.", by=_EVERY)
PROCESS_MEMORY = Gauge(
    "opencph_process_resident_memory_bytes", "Memory that the process holds (RSS), shared pages included.", by=_EVERY
)
PROCESS_FDS = Gauge("opencph_process_open_fds", "Open file descriptors of the process.", by=_EVERY)
PROCESS_CPU = Counter("opencph_process_cpu_seconds_total", "User and system time of the process.", by=_EVERY)

# --- the whole installation, read from the database when somebody looks ----------------------------------------

UP = Gauge(
    "opencph_up",
    "Processes of this data directory that answered this scrape, by process (api, worker, gateway).",
    ("process",),
    by=_WHOLE,
)
SILENT = Gauge("opencph_processes_silent", "Processes of this data directory that did not answer this scrape in time.", by=_WHOLE)
BUILD_INFO = Gauge("opencph_build_info", "1; the version as a label.", ("version",), by=_WHOLE)
DATABASE_UP = Gauge(
    "opencph_database_up", "Whether the database answered this scrape; without it the gauges below are missing.", by=_WHOLE
)
SERVERS = Gauge("opencph_servers", "Cloud phone servers, by state.", ("state",), by=_WHOLE)
PHONES = Gauge("opencph_phones", "Phones of serving generations, by state.", ("state",), by=_WHOLE)
JOBS_WAITING = Gauge("opencph_jobs_waiting", "Jobs accepted that no worker works on, by kind.", ("kind",), by=_WHOLE)
JOBS_RUNNING = Gauge("opencph_jobs_running", "Jobs that a worker works on, by kind.", ("kind",), by=_WHOLE)
JOB_OLDEST = Gauge(
    "opencph_jobs_oldest_waiting_age_seconds", "Age of the oldest job that no worker works on; 0 without one.", by=_WHOLE
)
JOB_OLDEST_RUNNING = Gauge(
    "opencph_jobs_oldest_running_age_seconds", "Age of the oldest job that a worker works on; 0 without one.", by=_WHOLE
)
