"""Every table of the platform, once, for SQLite and PostgreSQL. No queries here; those live in the module of their resource.

Conventions: ids are lower-case hex or UUID text; times are integers in milliseconds since the epoch, UTC (`*_ms`); flags
are integers 0/1; structured values are JSON text. Only plain types are used, so that a row read straight from the driver
needs no conversion. What can be derived (quota used, host capacity used, free addresses) has no column: it cannot drift
or leak.
"""

from sqlalchemy import (
    BigInteger,
    Column,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
    text,
)

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(column_0_label)s",
        "uq": "uq_%(table_name)s_%(column_0_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
        "pk": "pk_%(table_name)s",
    }
)

# BIGINT everywhere but for SQLite's rowid key, which must be spelt INTEGER to count by itself.
Sequence = BigInteger().with_variant(Integer, "sqlite")

# --- who ----------------------------------------

domains = Table(
    "domains",
    metadata,
    Column("domain_id", Text, primary_key=True),
    Column("name", Text, nullable=False, unique=True),
)

projects = Table(
    "projects",
    metadata,
    Column("project_id", Text, primary_key=True),
    Column("domain_id", Text, ForeignKey("domains.domain_id"), nullable=False),
    Column("name", Text, nullable=False),
    Column("enabled", Integer, nullable=False, default=1),
    UniqueConstraint("domain_id", "name", name="uq_projects_domain_name"),
)

users = Table(
    "users",
    metadata,
    Column("user_id", Text, primary_key=True),
    Column("domain_id", Text, ForeignKey("domains.domain_id"), nullable=False),
    Column("name", Text, nullable=False),
    Column("password_hash", Text, nullable=False),  # argon2id
    Column("enabled", Integer, nullable=False, default=1),
    UniqueConstraint("domain_id", "name", name="uq_users_domain_name"),
)

grants = Table(  # who may act in which project, as what
    "grants",
    metadata,
    Column("user_id", Text, ForeignKey("users.user_id"), primary_key=True),
    Column("project_id", Text, ForeignKey("projects.project_id"), primary_key=True),
    Column("role", Text, nullable=False),  # admin | operator | reader
)

access_keys = Table(
    "access_keys",
    metadata,
    Column("access_key", Text, primary_key=True),
    Column("secret_key", Text, nullable=False),  # HMAC needs it in the clear; the database file is 0600
    Column("user_id", Text, ForeignKey("users.user_id"), nullable=False),
    Column("enabled", Integer, nullable=False, default=1),
    Column("create_ms", BigInteger, nullable=False),
)

policies = Table(  # permissions of an operator's own making; grants name them as their role
    "policies",
    metadata,
    Column("name", Text, primary_key=True),
    Column("document", Text, nullable=False),  # JSON: {"Version", "Statement": [{"Effect", "Action"}]}
    Column("create_ms", BigInteger, nullable=False),
    Column("update_ms", BigInteger, nullable=False),
)

call_windows = Table(  # the last calls of a user to an operation that may be called only so often
    "call_windows",
    metadata,
    Column("user_id", Text, primary_key=True),
    Column("operation", Text, primary_key=True),
    Column("calls", Text, nullable=False),  # JSON array of times in milliseconds, oldest first
)

audit = Table(  # every call that changes something, or was refused to
    "audit",
    metadata,
    Column("seq", Sequence, primary_key=True, autoincrement=True),
    Column("time_ms", BigInteger, nullable=False),
    Column("request_id", Text, nullable=False),
    Column("source", Text, nullable=False),  # api | cli
    Column("user_id", Text, nullable=False),  # "" for the command line
    Column("user_name", Text, nullable=False),
    Column("project_id", Text, nullable=False),
    Column("operation", Text, nullable=False),
    Column("action", Text, nullable=False),
    Column("resources", Text, nullable=False),  # JSON array of ids and names
    Column("status", Integer, nullable=False),  # HTTP status of the answer
    Column("error_code", Text, nullable=False),  # "" when nothing went wrong
    Column("error_msg", Text, nullable=False),
    Index("ix_audit_request", "request_id"),
    Index("ix_audit_time", "time_ms"),
    Index("ix_audit_project_seq", "project_id", "seq"),
    sqlite_autoincrement=True,
)

signing_keys = Table(  # keys of ours: token signatures, tickets
    "signing_keys",
    metadata,
    Column("name", Text, primary_key=True),
    Column("secret", Text, nullable=False),  # base64
    Column("create_ms", BigInteger, nullable=False),
)

keypairs = Table(
    "keypairs",
    metadata,
    Column("project_id", Text, ForeignKey("projects.project_id"), primary_key=True),
    Column("name", Text, primary_key=True),
    Column("public_key", Text, nullable=False),  # OpenSSH one-line form
    Column("fingerprint", Text, nullable=False),
    Column("create_ms", BigInteger, nullable=False),
    Column("user_id", Text),  # who made it; NULL: the first start
    Column("description", Text),
    Column("update_ms", BigInteger),
)

quotas = Table(  # limits only; what is used is counted
    "quotas",
    metadata,
    Column("project_id", Text, ForeignKey("projects.project_id"), primary_key=True),
    Column("resource", Text, primary_key=True),  # servers | phones | eips
    Column("quota_limit", BigInteger, nullable=False),
)

# --- where ----------------------------------------

vpcs = Table(
    "vpcs",
    metadata,
    Column("vpc_id", Text, primary_key=True),  # UUID
    Column("project_id", Text, ForeignKey("projects.project_id"), nullable=False, index=True),
    Column("name", Text, nullable=False),
    Column("cidr", Text, nullable=False),
    Column("create_ms", BigInteger, nullable=False),
    Column("description", Text),
    Column("enterprise_project_id", Text),
    Column("update_ms", BigInteger),
)

subnets = Table(
    "subnets",
    metadata,
    Column("subnet_id", Text, primary_key=True),  # UUID
    Column("vpc_id", Text, ForeignKey("vpcs.vpc_id"), nullable=False, index=True),
    Column("project_id", Text, ForeignKey("projects.project_id"), nullable=False, index=True),
    Column("name", Text, nullable=False),
    Column("cidr", Text, nullable=False),
    Column("gateway_ip", Text, nullable=False),
    Column("ipv6_cidr", Text),  # NULL: the subnet has no IPv6
    Column("create_ms", BigInteger, nullable=False),
    Column("description", Text),
    Column("availability_zone", Text),
    Column("dhcp_enable", Integer),  # NULL: yes
    Column("dns_list", Text),  # JSON array of addresses; NULL: none
    Column("extra_dhcp_opts", Text),  # JSON array of {"opt_name", "opt_value"}; NULL: none
    Column("update_ms", BigInteger),
)

security_groups = Table(  # those that users make; the default one of a project has no row
    "security_groups",
    metadata,
    Column("security_group_id", Text, primary_key=True),  # UUID
    Column("project_id", Text, ForeignKey("projects.project_id"), nullable=False, index=True),
    Column("name", Text, nullable=False),
    Column("description", Text, nullable=False),
    Column("vpc_id", Text),
    Column("enterprise_project_id", Text, nullable=False),
    Column("create_ms", BigInteger, nullable=False),
)

network_tags = Table(  # tags of VPCs and subnets
    "network_tags",
    metadata,
    Column("resource_type", Text, primary_key=True),  # vpcs | subnets
    Column("resource_id", Text, primary_key=True),
    Column("tag_key", Text, primary_key=True),
    Column("tag_value", Text, nullable=False),
)

bandwidths = Table(
    "bandwidths",
    metadata,
    Column("bandwidth_id", Text, primary_key=True),  # UUID
    Column("project_id", Text, ForeignKey("projects.project_id"), nullable=False, index=True),
    Column("name", Text, nullable=False),
    Column("size_mbit", Integer, nullable=False),
    Column("charge_mode", Integer, nullable=False),  # 0 by bandwidth, 1 by traffic
    Column("share_type", Integer, nullable=False),  # 0 dedicated (PER), 1 shared (WHOLE)
    # A dedicated bandwidth lives and dies with its generation; a shared one is the user's and has NULL here.
    Column("generation_id", Text, ForeignKey("generations.generation_id"), index=True),
    Column("create_ms", BigInteger, nullable=False),
    Column("update_ms", BigInteger, nullable=False),
)

eips = Table(
    "eips",
    metadata,
    Column("eip_id", Text, primary_key=True),  # UUID
    Column("project_id", Text, ForeignKey("projects.project_id"), nullable=False, index=True),
    Column("type", Text, nullable=False),  # 5_bgp ...
    Column("address", Text, nullable=False, unique=True),
    # 1: assigned for a generation and released with it; 0: the user's own, only unbound.
    Column("auto_assigned", Integer, nullable=False),
    # The generation that holds or has reserved it; bound while `server_addresses.eip_id` names it.
    Column("generation_id", Text, ForeignKey("generations.generation_id"), index=True),
    Column("create_ms", BigInteger, nullable=False),
    Column("alias", Text),
    # The user's own bandwidth for it: its own dedicated one, or a shared one. NULL: it came with a server and has that one's.
    Column("bandwidth_id", Text, index=True),
)

hosts = Table(
    "hosts",
    metadata,
    Column("host_id", Text, primary_key=True),
    Column("availability_zone", Text, nullable=False),
    Column("runtime", Text, nullable=False),  # builtin | docker | kubernetes
    Column("phone_capacity", Integer, nullable=False),
    Column("server_capacity", Integer, nullable=False),
    Column("state", Text, nullable=False),  # active | draining
    Column("create_ms", BigInteger, nullable=False),
    Column("drained", Integer, nullable=False, server_default=text("0")),  # 1: an operator drains it
)

# --- what ----------------------------------------

servers = Table(
    "servers",
    metadata,
    Column("seq", Sequence, primary_key=True, autoincrement=True),  # newest first = seq descending
    Column("server_id", Text, nullable=False, unique=True),
    Column("project_id", Text, ForeignKey("projects.project_id"), nullable=False),
    Column("name", Text, nullable=False),
    Column("status", Integer, nullable=False),  # cph-api.md section 5
    Column("generation_id", Text, nullable=False, unique=True),  # the one that serves; never points at nothing
    Column("order_id", Text, nullable=False),
    Column("product_id", Text, nullable=False),
    Column("charging_mode", Integer, nullable=False),
    Column("enterprise_project_id", Text, nullable=False),
    Column("create_ms", BigInteger, nullable=False),
    Column("update_ms", BigInteger, nullable=False),
    UniqueConstraint("project_id", "name", name="uq_servers_project_name"),
    Index("ix_servers_project_seq", "project_id", "seq"),
    sqlite_autoincrement=True,
)

server_tags = Table(
    "server_tags",
    metadata,
    Column("server_id", Text, ForeignKey("servers.server_id", ondelete="CASCADE"), primary_key=True),
    Column("tag_key", Text, primary_key=True),
    Column("tag_value", Text, nullable=False),
    Index("ix_server_tags_key", "tag_key", "tag_value"),
)

encode_servers = Table(  # of servers whose encode server was ever restarted; all others have epoch 0 and run
    "encode_servers",
    metadata,
    Column("server_id", Text, ForeignKey("servers.server_id", ondelete="CASCADE"), primary_key=True),
    Column("epoch", Integer, nullable=False),  # how often it was restarted; tickets of an older epoch are void
    Column("status", Integer, nullable=False),  # 1 running, 3 restarting
)

share_filesystems = Table(  # which shared file systems the phones of a server see
    "share_filesystems",
    metadata,
    Column("server_id", Text, ForeignKey("servers.server_id", ondelete="CASCADE"), primary_key=True),
    Column("share_id", Text, primary_key=True),
    Column("path", Text, nullable=False),  # the directory in it that they see
)

images = Table(  # custom ones; public images are the catalogue's. The data is DATA/images/<image_id>.tar
    "images",
    metadata,
    Column("seq", Sequence, primary_key=True, autoincrement=True),
    Column("image_id", Text, nullable=False, unique=True),
    Column("project_id", Text, ForeignKey("projects.project_id"), nullable=False),
    Column("name", Text, nullable=False),
    Column("base_image_id", Text, nullable=False),  # the public image that its phones run
    Column("size_bytes", BigInteger, nullable=False),
    Column("status", Integer, nullable=False),  # 0 creating, 1 usable, 2 failed
    Column("create_ms", BigInteger, nullable=False),
    Column("update_ms", BigInteger, nullable=False),
    Index("ix_images_project_seq", "project_id", "seq"),
    sqlite_autoincrement=True,
)

image_members = Table(  # the projects an image is shared with
    "image_members",
    metadata,
    Column("image_id", Text, ForeignKey("images.image_id", ondelete="CASCADE"), primary_key=True),
    Column("project_id", Text, ForeignKey("projects.project_id"), primary_key=True),
    Column("receive_status", Integer, nullable=False),  # 0 pending, 1 accepted, 2 rejected
    Column("create_ms", BigInteger, nullable=False),
    Column("update_ms", BigInteger, nullable=False),
    Index("ix_image_members_project", "project_id"),
)

scheduled_events = Table(  # what is going to be done to servers, and waits for their owners' word; outlives its server
    "scheduled_events",
    metadata,
    Column("seq", Sequence, primary_key=True, autoincrement=True),
    Column("event_id", Text, nullable=False, unique=True),  # UUID
    Column("project_id", Text, nullable=False),
    Column("server_id", Text, nullable=False),
    Column("server_name", Text, nullable=False),  # of the time of publishing, as the next
    Column("server_model_name", Text, nullable=False),
    Column("host_id", Text, nullable=False),
    Column("type", Text, nullable=False),  # localdisk-recovery | system-maintenance
    Column("authorization_type", Text),  # maintenance | redeploy; NULL: nobody has said
    Column("state", Text, nullable=False),  # inquiring | scheduled | executing | completed | failed | canceled
    Column("description", Text, nullable=False),
    Column("job_id", Text),  # what executes it
    Column("publish_ms", BigInteger, nullable=False),
    Column("not_before_ms", BigInteger, nullable=False),
    Column("not_after_ms", BigInteger, nullable=False),
    Column("deadline_ms", BigInteger, nullable=False),  # not_before may not be later
    Column("start_ms", BigInteger),
    Column("finish_ms", BigInteger),
    Index("ix_scheduled_events_project_seq", "project_id", "seq"),
    Index("ix_scheduled_events_server", "server_id"),
    Index("ix_scheduled_events_state", "state"),
    sqlite_autoincrement=True,
)

# A server's incarnation on a host, with its own phones and addresses. A row *is* the reservation of quota and capacity.
generations = Table(
    "generations",
    metadata,
    Column("generation_id", Text, primary_key=True),
    Column("server_id", Text, nullable=False, index=True),
    Column("project_id", Text, ForeignKey("projects.project_id"), nullable=False, index=True),
    Column("number", Integer, nullable=False),  # 1, 2, ... per server
    Column("state", Text, nullable=False),  # building | serving | retiring
    Column("host_id", Text, ForeignKey("hosts.host_id"), nullable=False, index=True),
    Column("availability_zone", Text, nullable=False),
    Column("server_model_name", Text, nullable=False),
    Column("phone_model_name", Text, nullable=False),
    Column("image_id", Text, nullable=False),
    Column("phone_count", Integer, nullable=False),
    Column("phone_count_per_ip", Integer, nullable=False),
    Column("phone_ip_first", BigInteger, nullable=False, unique=True),  # IPv4 as a number; the block is phone_count long
    Column("vpc_id", Text, ForeignKey("vpcs.vpc_id"), nullable=False, index=True),
    Column("subnet_id", Text, ForeignKey("subnets.subnet_id"), nullable=False, index=True),
    Column("ipv6_enable", Integer, nullable=False),
    Column("ipv6_bandwidth_id", Text),
    Column("bandwidth_id", Text),  # NULL: no public address
    Column("keypair_name", Text),
    Column("ports", Text, nullable=False),  # JSON: [{"name","listen_port","internet_accessible": bool}], adb not included
    Column("property", Text, nullable=False),  # JSON object text as given, "" when none
    Column("data_volume_type", Text),
    Column("data_volume_gib", Integer),
    Column("share_volume_type", Text),
    Column("share_volume_gib", Integer),
    Column("create_ms", BigInteger, nullable=False),
    UniqueConstraint("server_id", "number", name="uq_generations_server_number"),
)

kept_public_keys = Table(  # of key pairs that were deleted while servers used them: those servers keep the key they have
    "kept_public_keys",
    metadata,
    Column("generation_id", Text, ForeignKey("generations.generation_id"), primary_key=True),
    Column("keypair_name", Text, primary_key=True),
    Column("public_key", Text, nullable=False),
)

server_addresses = Table(  # the VIPs of a generation: phones n*phone_count_per_ip .. share number n
    "server_addresses",
    metadata,
    Column("generation_id", Text, ForeignKey("generations.generation_id"), primary_key=True),
    Column("number", Integer, primary_key=True),  # 0, 1, ...
    Column("subnet_id", Text, ForeignKey("subnets.subnet_id"), nullable=False),
    Column("server_ip", Text, nullable=False),
    Column("server_ipv6", Text),
    Column("eip_id", Text, ForeignKey("eips.eip_id"), index=True),
    UniqueConstraint("subnet_id", "server_ip", name="uq_server_addresses_subnet_ip"),
)

orders = Table(  # what the billing service knows
    "orders",
    metadata,
    Column("order_id", Text, primary_key=True),
    Column("project_id", Text, ForeignKey("projects.project_id"), nullable=False, index=True),
    Column("kind", Text, nullable=False),  # purchase | change | unsubscribe
    Column("status", Integer, nullable=False),  # 3 processing, 4 cancelled, 5 completed (neighbours of CPH, BSS)
    Column("product_id", Text, nullable=False),
    Column("create_ms", BigInteger, nullable=False),
    Column("end_ms", BigInteger),
)

order_servers = Table(  # what an order is about; stays when the servers are gone
    "order_servers",
    metadata,
    Column("order_id", Text, ForeignKey("orders.order_id"), primary_key=True),
    Column("server_id", Text, primary_key=True, index=True),
    Column("delivered", Integer),  # NULL not yet, 1 done, 0 failed
)

phones = Table(
    "phones",
    metadata,
    Column("seq", Sequence, primary_key=True, autoincrement=True),
    Column("phone_id", Text, nullable=False, unique=True),
    Column("project_id", Text, ForeignKey("projects.project_id"), nullable=False),
    Column("server_id", Text, nullable=False),
    Column("generation_id", Text, ForeignKey("generations.generation_id"), nullable=False),
    Column("number", Integer, nullable=False),  # 1, 2, ... within the generation
    Column("name", Text, nullable=False),
    Column("status", Integer, nullable=False),  # cph-api.md section 5
    Column("image_id", Text, nullable=False),
    Column("imei", Text, nullable=False),
    Column("phone_ip", Text, nullable=False),
    Column("phone_ipv6", Text),
    Column("property", Text, nullable=False),  # JSON object text, "" when none
    Column("custom_property", Text, nullable=False),  # JSON object text, "" when none
    Column("traffic_type", Text, nullable=False),  # direct | routing
    Column("data_volume_gib", Integer, nullable=False),
    Column("create_ms", BigInteger, nullable=False),
    Column("update_ms", BigInteger, nullable=False),
    UniqueConstraint("generation_id", "number", name="uq_phones_generation_number"),
    Index("ix_phones_project_seq", "project_id", "seq"),
    sqlite_autoincrement=True,
)

# --- data in and out ----------------------------------------

buckets = Table(  # of object storage; the objects are in the store itself
    "buckets",
    metadata,
    Column("name", Text, primary_key=True),
    Column(
        "domain_id", Text, ForeignKey("domains.domain_id"), nullable=False, index=True
    ),  # every project of the account may use it
    Column("create_ms", BigInteger, nullable=False),
)

share_apps = Table(  # apps in the shared storage of a server; the archive is kept in the object store
    "share_apps",
    metadata,
    Column("server_id", Text, primary_key=True),
    Column("package_name", Text, primary_key=True),
    Column("version", Text, primary_key=True),
    Column("archive", Text, nullable=False),
    Column("pre_install", Integer, nullable=False),
    Column("create_ms", BigInteger, nullable=False),
)

share_files = Table(  # files in the shared storage of a server
    "share_files",
    metadata,
    Column("server_id", Text, primary_key=True),
    Column("path", Text, primary_key=True),  # absolute, in the phones
    Column("archive", Text, nullable=False),  # the one it came with, kept in the object store
    Column("size", BigInteger, nullable=False),  # bytes
    Column("create_ms", BigInteger, nullable=False),
)

# --- work ----------------------------------------

jobs = Table(
    "jobs",
    metadata,
    Column("seq", Sequence, primary_key=True, autoincrement=True),
    Column("job_id", Text, nullable=False, unique=True),
    Column("project_id", Text, nullable=False),
    Column("request_id", Text, nullable=False),
    Column("kind", Text, nullable=False),  # change_server, restart_phone, ...
    Column("lane", Text, nullable=False),  # jobs of one lane run one batch at a time; the server_id
    Column("server_id", Text),
    Column("phone_id", Text),
    Column("payload", Text, nullable=False),  # JSON, what the steps need to know
    Column("status", Integer, nullable=False),  # 1 running, 2 success, -1 failed
    Column("direction", Text, nullable=False),  # forward | undo
    Column("step", Text, nullable=False),  # the last step that is done (forward) or undone (undo); "" at the start
    Column("attempts", Integer, nullable=False),
    Column("run_after_ms", BigInteger, nullable=False),
    Column("lease_owner", Text),
    Column("lease_until_ms", BigInteger, nullable=False),  # 0: nobody's
    Column("error_code", Text),
    Column("error_msg", Text),
    Column("execute_msg", Text),
    Column("create_ms", BigInteger, nullable=False),
    Column("end_ms", BigInteger),
    Index("ix_jobs_request", "request_id"),
    Index("ix_jobs_runnable", "status", "lane", "seq"),
    Index("ix_jobs_ended", "end_ms"),
    Index("ix_jobs_leased", "lane", sqlite_where=text("lease_owner IS NOT NULL"), postgresql_where=text("lease_owner IS NOT NULL")),
    sqlite_autoincrement=True,
)

homes = Table(  # where the phones of a runtime live that keeps them on one machine; only workers of that place may touch them
    "homes",
    metadata,
    Column("runtime", Text, primary_key=True),  # builtin
    Column("home_id", Text, nullable=False),  # the same as in DATA/builtin/.home
    Column("host_name", Text, nullable=False),  # where it was seen last, for people
    Column("directory", Text, nullable=False),
    Column("seen_ms", BigInteger, nullable=False),
)

findings = Table(  # what was killed, removed or added behind our back, for operators to read
    "findings",
    metadata,
    Column("seq", Sequence, primary_key=True, autoincrement=True),
    Column("time_ms", BigInteger, nullable=False),
    Column("what", Text, nullable=False),  # phones_down | data_lost | set_aside | removed | contradiction | away
    Column("server_id", Text),
    Column("text", Text, nullable=False),
    Index("ix_findings_time", "time_ms"),
    sqlite_autoincrement=True,
)

processes = Table(  # api, worker and gateway processes that are alive
    "processes",
    metadata,
    Column("process_id", Text, primary_key=True),
    Column("kind", Text, nullable=False),  # api | worker | gateway
    Column("host_name", Text, nullable=False),
    Column("pid", Integer, nullable=False),
    Column("start_ms", BigInteger, nullable=False),
    Column("heartbeat_ms", BigInteger, nullable=False),
    Column("applied_revision", BigInteger, nullable=False),  # gateway: the newest `revisions.network` it serves
    Column("missing", Text, nullable=False, server_default=text("''")),  # gateway: what it cannot open, in words; else empty
)

revisions = Table(  # counters that tell readers that something of theirs changed
    "revisions",
    metadata,
    Column("name", Text, primary_key=True),  # network
    Column("value", BigInteger, nullable=False),
)
