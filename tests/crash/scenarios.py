"""How to come to every step of every kind of job, and what must have happened once it has ended: servers and their phones.

A scenario is one kind of work on the installation's server (or on one of its own). `SCENARIOS` has them all by kind; what goes into
phones is in `scenarios_data`.
"""

from __future__ import annotations

import socket
from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import suppress

from crash.program import ViolationError, until
from crash.site import V1, JobRow, PhoneRow, Site
from jobs_fleet.small_world import BIGGER_MODEL, MODEL, SERVER_MODEL
from opencph.fleet.encode_servers import RUNNING, turned
from opencph.runtimes import ADB_PORT

KEPT = "/data/local/tmp/kept"
CONTENTS = b"whole" * 2000
PROVOKE_SECONDS = 20.0


class Scenario:
    """One case of one kind."""

    kind = ""
    #: it must fail, and be undone
    fails = False
    #: it works inside phones: when those die in the middle of that, it may fail and say so; before and after they may not matter
    inside = False
    #: the kill comes in the middle of an effect. Said by who runs the case
    during = False
    #: of files in phones, what it may leave: paths from the phone's directory
    leaves: tuple[str, ...] = ()
    #: of objects, what it may leave
    makes: tuple[str, ...] = ()
    #: phones of the server answer all the while, if nobody kills their host
    keeps_serving = True

    def __init__(self, site: Site) -> None:
        self.site = site

    def prepare(self) -> None:
        """What must be there first."""

    def accept(self) -> None:
        """Ask for the work."""

    def provoke(self) -> None:
        """Make it fail. Called at the point that `provoke_at` names, where the worker stands still."""

    provoke_at = ""

    def appease(self) -> None:
        """Take away what made it fail. May be called twice."""

    def check(self, jobs: Sequence[JobRow], *, gentle: bool) -> None:
        """What must be so now. `gentle`: the phones' host was not killed."""

    def clean(self) -> None:
        """As it was before."""

    # --- for all of them ---

    def must(self, condition: object, what: str) -> None:
        """Raises ViolationError."""
        if not condition:
            raise ViolationError(f"{self.kind}: {what} {self.site.words()}")

    def outcome(self, jobs: Sequence[JobRow], *, gentle: bool) -> None:
        """Jobs have ended as they should have."""
        mine = [job for job in jobs if job.kind == self.kind]
        self.must(mine, f"there are no jobs: {jobs}")
        for job in mine:
            if self.fails:
                self.must(job.status == -1 and job.error_code and job.error_msg, f"should have failed, and said why: {job}")
            elif job.status != 2:
                may = self.inside and self.during and not gentle
                self.must(may and job.error_code and job.error_msg, f"should have succeeded: {job}")

    def boots(self, before: Sequence[int], *, gentle: bool, server_id: str = "") -> None:
        """Every phone was booted once more, and no more than once."""
        now, wanted = self.site.boots(server_id), [count + 1 for count in before]
        self.must(now == wanted if gentle else min(now) >= 1, f"boots: {before}, then {now}, not {wanted}")


class _Taken(Scenario, ABC):
    """Fails since another program listens where a new phone should."""

    fails = True

    @abstractmethod
    def new_phones(self) -> Sequence[PhoneRow]:
        """Those that the job is about to boot."""

    def provoke(self) -> None:
        self.taken = socket.create_server((self.new_phones()[1].ip, ADB_PORT))

    def appease(self) -> None:
        with suppress(AttributeError):
            self.taken.close()

    def clean(self) -> None:
        self.appease()


class CreateServer(Scenario):
    kind = "create_server"

    def accept(self) -> None:
        self.server_id = self.site.buy()

    def check(self, jobs: Sequence[JobRow], *, gentle: bool) -> None:
        server, phones = self.site.server(self.server_id), self.site.phones(self.server_id)
        self.must(server.status == 5 and {phone.status for phone in phones} == {2}, f"bought: {server} {phones}")
        silent = self.site.answers(self.server_id)
        self.must(not silent, f"bought phones do not answer: {silent}")
        self.boots([0] * len(phones), gentle=gentle, server_id=self.server_id)

    def clean(self) -> None:
        self.site.delete(self.server_id)


class CreateServerFails(_Taken):
    kind, provoke_at = "create_server", "create_server:build:before"

    def accept(self) -> None:
        self.server_id = self.site.buy()

    def new_phones(self) -> Sequence[PhoneRow]:
        return self.site.phones(self.server_id)

    def check(self, jobs: Sequence[JobRow], *, gentle: bool) -> None:
        server, phones = self.site.server(self.server_id), self.site.phones(self.server_id)
        self.must(server.status == 2 and {phone.status for phone in phones} == {-8}, f"not bought: {server} {phones}")
        there = (self.site.data / "builtin" / server.generation_id).exists()
        self.must(not there, "something of a failed purchase is left in the runtime")

    def clean(self) -> None:
        super().clean()
        self.site.delete(self.server_id)


class ChangeServer(Scenario):
    kind = "change_server"

    def accept(self) -> None:
        self.old, self.old_phones = self.site.server(), self.site.phones()
        self.site.change(self.site.home)

    def check(self, jobs: Sequence[JobRow], *, gentle: bool) -> None:
        server, phones = self.site.server(), self.site.phones()
        self.must((server.name, server.status) == (self.old.name, 5), f"changed: {server}")
        self.must(server.generation_id != self.old.generation_id, f"nothing has changed: {server}")
        shared = {phone.phone_id for phone in phones} & {phone.phone_id for phone in self.old_phones}
        self.must(not shared, f"old phones are there: {shared}")
        self.boots([0] * len(phones), gentle=gentle)


class ChangeServerFails(_Taken):
    kind, provoke_at = "change_server", "change_server:build:before"

    def prepare(self) -> None:
        self.site.push(self.site.phones()[0], CONTENTS, KEPT)
        self.before = self.site.boots()

    def accept(self) -> None:
        self.old, self.old_phones = self.site.server(), self.site.phones()
        self.site.change(self.site.home)

    def new_phones(self) -> Sequence[PhoneRow]:
        payload = '"new_generation_id":"'
        (text,) = [text for kind, text in self.site.running_payloads() if kind == self.kind]
        return self.site.phones_of(text.partition(payload)[2][:32])

    def check(self, jobs: Sequence[JobRow], *, gentle: bool) -> None:
        self.must((self.site.server(), self.site.phones()) == (self.old, self.old_phones), "the server is not what it was")
        self.must(self.site.pull(self.old_phones[0], KEPT) == CONTENTS, "a file is not what it was")
        now = self.site.boots()
        self.must(not gentle or now == self.before, f"phones were booted that had nothing to do with it: {self.before}, {now}")

    leaves = ("data/local/tmp/kept",)


class DeleteServer(Scenario):
    kind = "delete_server"

    def prepare(self) -> None:
        self.server_id = self.site.buy()
        self.site.jobs_ended(0)

    def accept(self) -> None:
        self.site.delete(self.server_id)

    def check(self, jobs: Sequence[JobRow], *, gentle: bool) -> None:
        self.must(not self.site.exists(self.server_id), "the server is still there")


class _Power(Scenario):
    """Restart, reset or stop all phones of the server."""

    keeps_serving = False
    word = ""

    def prepare(self) -> None:
        self.site.push(self.site.phones()[0], CONTENTS, KEPT)
        self.before = self.site.boots()

    def accept(self) -> None:
        phones = [phone.phone_id for phone in self.site.phones()]
        body = {"phone_ids": phones} if self.word == "stop" else {"phones": [{"phone_id": one} for one in phones]}
        self.site.ask("POST", f"{V1}/phones/batch-{self.word}", body)

    def check(self, jobs: Sequence[JobRow], *, gentle: bool) -> None:
        statuses = [phone.status for phone in self.site.phones()]
        self.must(set(statuses) == {2}, f"phones: {statuses}")
        self.must(self.site.pull(self.site.phones()[0], KEPT) == CONTENTS, "a file is not what it was")
        self.boots(self.before, gentle=gentle)

    leaves = ("data/local/tmp/kept",)


class RestartPhone(_Power):
    kind, word = "restart_phone", "restart"


class ResetPhone(_Power):
    kind, word = "reset_phone", "reset"

    def check(self, jobs: Sequence[JobRow], *, gentle: bool) -> None:
        phones = self.site.phones()
        self.must({phone.status for phone in phones} == {2}, f"phones: {phones}")
        self.must("kept" not in self.site.text(phones[0], "ls /data/local/tmp"), "a file survived a reset")
        self.boots([0] * len(phones), gentle=gentle)


class StopPhone(_Power):
    kind, word = "stop_phone", "stop"

    def check(self, jobs: Sequence[JobRow], *, gentle: bool) -> None:
        phones = self.site.phones()
        self.must({phone.status for phone in phones} == {8}, f"phones: {phones}")
        self.must(len(self.site.answers()) == len(phones), "a phone that was stopped answers")
        self.must(not gentle or self.site.boots() == self.before, "phones were booted that were only stopped")

    def clean(self) -> None:
        self.site.ask("POST", f"{V1}/phones/batch-restart", {"phones": [{"phone_id": one.phone_id} for one in self.site.phones()]})
        self.site.jobs_ended(0)
        self.must(self.site.pull(self.site.phones()[0], KEPT) == CONTENTS, "a file is not what it was")


class RestartServer(_Power):
    kind = "restart_server"

    def accept(self) -> None:
        self.site.ask("POST", f"{V1}/servers/batch-restart", {"server_ids": [self.site.home]})


class ChangeServerModel(_Power):
    kind = "change_server_model"

    def _model(self) -> str:
        return str(self.site.ask("GET", f"{V1}/servers/{self.site.home}")["phone_model_name"])

    def accept(self) -> None:
        self.old = self._model()
        small = self.old == MODEL
        body = {
            "server_id": self.site.home,
            "server_model_name": f"{SERVER_MODEL}.special" if small else SERVER_MODEL,
            "phone_model_name": BIGGER_MODEL if small else MODEL,
        }
        self.site.ask("POST", f"{V1}/servers/change-server-model", body)

    def check(self, jobs: Sequence[JobRow], *, gentle: bool) -> None:
        super().check(jobs, gentle=gentle)
        self.must((self._model() != self.old) != self.fails, f"the flavor was {self.old} and is {self._model()}")


class ChangeServerModelFails(ChangeServerModel):
    fails, provoke_at = True, "change_server_model:off:recorded"

    def provoke(self) -> None:
        self.taken = socket.create_server((self.site.phones()[1].ip, ADB_PORT))

    def appease(self) -> None:
        with suppress(AttributeError):
            self.taken.close()

    def clean(self) -> None:
        self.appease()

    def check(self, jobs: Sequence[JobRow], *, gentle: bool) -> None:
        self.site.settle()
        self.must(self._model() == self.old, f"the flavor was {self.old} and is {self._model()}")
        self.must(self.site.pull(self.site.phones()[0], KEPT) == CONTENTS, "a file is not what it was")


class UpdateKeypair(Scenario):
    kind = "update_keypair"

    def accept(self) -> None:
        servers = [{"server_id": self.site.home, "keypair_name": self.site.credentials["keypair_name"]}]
        self.site.ask("PUT", f"{V1}/servers/open-access", {"servers": servers})

    def check(self, jobs: Sequence[JobRow], *, gentle: bool) -> None:
        name = self.site.ask("GET", f"{V1}/servers/{self.site.home}")["keypair_name"]
        self.must(name == self.site.credentials["keypair_name"], f"key pair {name}")


class RestartEncodeServer(Scenario):
    kind = "restart_encode_server"

    def accept(self) -> None:
        self.site.ask("POST", f"{V1}/encode-servers/batch-restart", {"encode_server_ids": [turned(self.site.home)]})

    def check(self, jobs: Sequence[JobRow], *, gentle: bool) -> None:
        (found,) = self.site.ask("GET", f"{V1}/encode-servers?server_id={self.site.home}")["encode_servers"]
        self.must(found["status"] == RUNNING, f"encode server: {found}")


class UpdatePhone(Scenario):
    kind = "update_phone"

    def accept(self) -> None:
        self.phone = self.site.phones()[1]
        self.name = f"phone-{self.phone.name[-6:]}{len(self.site.jobs())}"
        self.site.ask("PUT", f"{V1}/phones/{self.phone.phone_id}", {"phone_name": self.name})

    def check(self, jobs: Sequence[JobRow], *, gentle: bool) -> None:
        self.must(self.site.phones()[1].name == self.name, "the row does not know the name")
        home = self.site.data / "builtin" / self.phone.generation_id / "host.json"
        self.must(self.name in home.read_text(), "the host does not know the name")


class _ShareFilesystem(Scenario):
    SHARE = "share"

    def ask(self, word: str) -> None:
        body = {"type": "sfs_turbo", "id": self.SHARE, "server_ids": [self.site.home]}
        self.site.ask("POST", f"/v1/PROJECT/servers/{word}-share-filesystem", body)

    def is_there(self) -> bool:
        return bool(self.site.possessed("share_filesystems"))


class AttachShareFilesystem(_ShareFilesystem):
    kind = "attach_share_filesystem"

    def accept(self) -> None:
        self.ask("attach")

    def check(self, jobs: Sequence[JobRow], *, gentle: bool) -> None:
        self.must(self.is_there(), "it is not attached")

    def clean(self) -> None:
        if self.is_there():
            self.ask("detach")
            self.site.jobs_ended(0)


class AttachShareFilesystemFails(AttachShareFilesystem):
    fails, provoke_at = True, "attach_share_filesystem:attach:recorded"

    def provoke(self) -> None:
        self.file = self.site.data / "builtin" / self.site.server().generation_id / "host.json"
        self.aside = self.site.directory / "host.json"
        self.file.rename(self.aside)

    def check(self, jobs: Sequence[JobRow], *, gentle: bool) -> None:
        self.must(not self.is_there(), "it is attached")

    def appease(self) -> None:
        with suppress(AttributeError, FileNotFoundError):
            if not self.file.exists():
                self.aside.rename(self.file)
            self.aside.unlink(missing_ok=True)

    def clean(self) -> None:
        self.appease()


class DetachShareFilesystem(_ShareFilesystem):
    kind = "detach_share_filesystem"

    def prepare(self) -> None:
        self.ask("attach")
        self.site.jobs_ended(0)

    def accept(self) -> None:
        self.ask("detach")

    def check(self, jobs: Sequence[JobRow], *, gentle: bool) -> None:
        self.must(not self.is_there(), "it is still attached")


class RecoverServer(Scenario):
    kind = "recover_server"
    keeps_serving = False

    def prepare(self) -> None:
        self.site.push(self.site.phones()[0], CONTENTS, KEPT)
        self.before = self.site.boots()

    leaves = ("data/local/tmp/kept",)

    def accept(self) -> None:
        self.site.kill("host")
        until(lambda: len(self.site.jobs()) or True, PROVOKE_SECONDS, lambda: "jobs")

    def outcome(self, jobs: Sequence[JobRow], *, gentle: bool) -> None:
        """The reconciler makes another when one fails; the phones are what counts."""
        mine = [job for job in jobs if job.kind == self.kind]
        self.must(mine and all(job.status == 2 or job.error_msg for job in mine), f"phones were brought back: {jobs}")
        self.must(not gentle or (len(mine) == 1 and mine[0].status == 2), f"one recovery is enough: {mine}")

    def check(self, jobs: Sequence[JobRow], *, gentle: bool) -> None:
        self.site.settle()
        self.must(self.site.pull(self.site.phones()[0], KEPT) == CONTENTS, "a file is not what it was")
        self.boots(self.before, gentle=gentle)


SERVERS: tuple[type[Scenario], ...] = (
    CreateServer,
    CreateServerFails,
    ChangeServer,
    ChangeServerFails,
    DeleteServer,
    RestartPhone,
    ResetPhone,
    StopPhone,
    RestartServer,
    ChangeServerModel,
    ChangeServerModelFails,
    UpdateKeypair,
    RestartEncodeServer,
    UpdatePhone,
    AttachShareFilesystem,
    AttachShareFilesystemFails,
    DetachShareFilesystem,
    RecoverServer,
)
