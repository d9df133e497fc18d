"""How to come to every step of the jobs that put something into phones or take it out: commands, archives, disks, shared things."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Sequence

from apk_maker import apk
from crash.scenarios import CONTENTS, SERVERS, Scenario
from crash.site import BUCKET, V1, JobRow
from opencph.fleet.ids import new_id
from opencph.wire.object_names import ObjectName

#: what a phone keeps of packages from its first installation on
OF_PACKAGES = ("data/user/", "data/system/")


class _Data(Scenario):
    """Has names of its own in the bucket and in the phones."""

    inside = True

    def __init__(self, site: object) -> None:
        super().__init__(site)  # type: ignore[arg-type]
        self.mark = f"m{new_id()[:8]}"
        self.directory = f"/data/local/tmp/{self.mark}"
        self.leaves = (f"data/local/tmp/{self.mark}",)

    def archive(self, key: str, members: dict[str, bytes]) -> ObjectName:
        """An object of these files."""
        packed = io.BytesIO()
        with tarfile.open(fileobj=packed, mode="w") as archive:
            for name, data in members.items():
                member = tarfile.TarInfo(name.lstrip("/"))
                member.size, member.mode = len(data), 0o644
                archive.addfile(member, io.BytesIO(data))
        return self.put(key, packed.getvalue())

    def put(self, key: str, data: bytes) -> ObjectName:
        """An object; a case may leave it."""
        self.makes = (*self.makes, f"{BUCKET}/{key}")
        return self.site.put(key, data)

    def done(self, jobs: Sequence[JobRow]) -> bool:
        """Whether its job succeeded."""
        return all(job.status == 2 for job in jobs if job.kind == self.kind)

    def command(self, word: str, content: str, number: int = 0) -> None:
        """A command for a phone of the server."""
        body = {"command": word, "content": content, "phone_ids": [self.site.phones()[number].phone_id]}
        self.site.ask("POST", f"{V1}/phones/commands", body)

    def packages(self, number: int = 0) -> list[str]:
        """The packages of a phone."""
        return self.site.text(self.site.phones()[number], "pm list packages -3").split()


class Shell(_Data):
    """A line that a command appends is there once, whoever died; a command that ran has said what it said."""

    kind = "phone_command"

    def accept(self) -> None:
        self.command("shell", f"echo once | tee -a {self.directory} && sleep 0.1 && echo twice | tee -a {self.directory}")

    def check(self, jobs: Sequence[JobRow], *, gentle: bool) -> None:
        (job,) = [job for job in jobs if job.kind == self.kind]
        lines = self.site.text(self.site.phones()[0], f"cat {self.directory} 2>/dev/null")
        if self.done(jobs):
            self.must((lines, job.execute_msg) == ("once\ntwice\n", "once\ntwice\n"), f"{lines!r} {job}")
        else:
            self.must(lines in ("", "once\n", "once\ntwice\n"), f"it ran more than once: {lines!r} {job}")


class ShellRefused(_Data):
    """The command fails: once, and with what it printed."""

    kind, fails = "phone_command", True

    def accept(self) -> None:
        self.command("shell", f"echo once | tee -a {self.directory} && grep -q no {self.directory}")

    def check(self, jobs: Sequence[JobRow], *, gentle: bool) -> None:
        (job,) = [job for job in jobs if job.kind == self.kind]
        lines = self.site.text(self.site.phones()[0], f"cat {self.directory} 2>/dev/null")
        certain = gentle or not self.during
        self.must(lines == "once\n" or (lines == "" and not certain), f"it did not run, or more than once: {lines!r} {job}")
        self.must(not certain or (job.error_code, job.execute_msg) == ("CPS.0191", "once\n"), f"{job}")


class Push(_Data):
    kind = "phone_command"

    def prepare(self) -> None:
        self.archive(f"{self.mark}.tar", {f"{self.directory}/f": CONTENTS})

    def accept(self) -> None:
        self.command("push", f"obs://{BUCKET}/{self.mark}.tar", 1)

    def check(self, jobs: Sequence[JobRow], *, gentle: bool) -> None:
        if self.done(jobs):
            self.must(self.site.pull(self.site.phones()[1], f"{self.directory}/f") == CONTENTS, "the file is not what was pushed")


class Install(_Data):
    kind = "phone_command"

    def prepare(self) -> None:
        self.package = f"com.new.{self.mark}"
        self.leaves = (f"data/app/{self.package}", f"data/data/{self.package}", *OF_PACKAGES)
        self.put(f"{self.package}.apk", apk(self.package))

    def accept(self) -> None:
        self.command("install", f"obs://{BUCKET}/{self.package}.apk", 2)

    def check(self, jobs: Sequence[JobRow], *, gentle: bool) -> None:
        (job,) = [job for job in jobs if job.kind == self.kind]
        there = f"package:{self.package}" in self.packages(2)
        self.must(there or not self.done(jobs), f"the package is not there: {job}")
        noted = self.site.text(self.site.phones()[2], "logcat -d").count(f"installed {self.package}")
        self.must(noted <= 1, f"it was installed {noted} times")

    def clean(self) -> None:
        if f"package:{self.package}" in self.packages(2):
            self.site.text(self.site.phones()[2], f"pm uninstall {self.package}")


class InstallMultiple(Install):
    def prepare(self) -> None:
        super().prepare()
        self.put(f"{self.package}-split.apk", apk(self.package, split="config.xxhdpi"))

    def accept(self) -> None:
        names = " ".join(f"obs://{BUCKET}/{name}.apk" for name in (self.package, f"{self.package}-split"))
        self.command("install-multiple", names, 2)


class Uninstall(Install):
    def prepare(self) -> None:
        super().prepare()
        self.command("install", f"obs://{BUCKET}/{self.package}.apk", 2)
        self.site.jobs_ended(0)

    def accept(self) -> None:
        self.command("uninstall", self.package, 2)

    def check(self, jobs: Sequence[JobRow], *, gentle: bool) -> None:
        (job,) = [job for job in jobs if job.kind == self.kind]
        there = f"package:{self.package}" in self.packages(2)
        self.must(not there or not self.done(jobs), f"the package is still there: {job}")


class ExportPhone(_Data):
    kind = "export_phone"

    def prepare(self) -> None:
        self.site.push(self.site.phones()[1], CONTENTS, f"{self.directory}/f")
        self.makes = (f"{BUCKET}/{self.mark}-out.tar",)

    def accept(self) -> None:
        info = {
            "phone_id": self.site.phones()[1].phone_id,
            "include_files": [self.directory],
            "exclude_files": [],
            "bucket_name": BUCKET,
            "object_path": f"{self.mark}-out.tar",
        }
        self.site.ask("POST", f"{V1}/phones/batch-storage", {"storage_infos": [info]})

    def check(self, jobs: Sequence[JobRow], *, gentle: bool) -> None:
        found = [info.key for info in self.site.store.list(BUCKET, f"{self.mark}-out")]
        self.must(found or not self.done(jobs), "there is no object")
        for key in found:  # whole, even where the job failed
            with self.site.store.open(BUCKET, key) as file, tarfile.open(fileobj=file) as archive:
                member = archive.extractfile(f"{self.directory}/f".lstrip("/"))
                self.must(member is not None and member.read() == CONTENTS, "the archive does not hold what the phone does")


class ImportPhone(_Data):
    kind = "import_phone"

    def prepare(self) -> None:
        self.archive(f"{self.mark}-in.tar", {f"{self.directory}/f": CONTENTS})

    def accept(self) -> None:
        info = {"phone_id": self.site.phones()[1].phone_id, "bucket_name": BUCKET, "object_path": f"{self.mark}-in.tar"}
        self.site.ask("POST", f"{V1}/phones/batch-restore", {"restore_infos": [info]})

    def check(self, jobs: Sequence[JobRow], *, gentle: bool) -> None:
        if self.done(jobs):
            self.must(self.site.pull(self.site.phones()[1], f"{self.directory}/f") == CONTENTS, "the file is not what was restored")


class ExpandPhone(_Data):
    kind = "expand_phone"
    inside = False

    def accept(self) -> None:
        self.phone = self.site.phones()[1]
        self.size = self.phone.data_volume_gib + 1
        phones = [{"phone_id": self.phone.phone_id, "new_size": self.size}]
        self.site.ask("POST", f"{V1}/phones/expand-volume", {"phones": phones})

    def check(self, jobs: Sequence[JobRow], *, gentle: bool) -> None:
        self.must(self.site.phones()[1].data_volume_gib == self.size, f"not {self.size} GiB: {self.site.phones()[1]}")
        line = self.site.text(self.phone, "df -k /data").splitlines()[-1]
        self.must(int(line.split()[1]) == self.size << 20, f"the phone has not {self.size} GiB: {line}")


class _Share(_Data):
    """Something in the shared storage of the server."""

    def __init__(self, site: object) -> None:
        super().__init__(site)
        self.package = "com.shared.app"
        self.path = f"/data/share_me/{self.mark}/f"
        self.leaves = (
            "data/share_apps",
            f"data/app/{self.package}",
            f"data/data/{self.package}",
            f"data/share_me/{self.mark}",
            *OF_PACKAGES,
        )

    def _order(self, key: str, **more: object) -> dict[str, object]:
        return {"bucket_name": BUCKET, "object_path": key, "server_ids": [self.site.home], **more}

    def push_app(self) -> None:
        members = {f"data/app/{self.package}-1/base.apk": apk(self.package), f"data/data/{self.package}/f": CONTENTS}
        self.archive(f"{self.package}_1.0.tar", members)
        body = self._order(f"{self.package}_1.0.tar", package_name=self.package, pre_install_app=1)
        self.site.ask("POST", f"{V1}/phones/share-apps", body)

    def delete_app(self) -> None:
        body = {"package_name": self.package, "server_ids": [self.site.home]}
        self.site.ask("DELETE", f"{V1}/phones/share-apps", body)

    def push_files(self) -> None:
        self.archive(f"{self.mark}-share.tar", {self.path: CONTENTS})
        self.site.ask("POST", f"{V1}/phones/share-files", self._order(f"{self.mark}-share.tar"))

    def delete_files(self) -> None:
        body = {"file_paths": [f"/data/share_me/{self.mark}"], "server_ids": [self.site.home]}
        self.site.ask("POST", f"{V1}/phones/share-files", body)

    def ended(self) -> None:
        self.site.jobs_ended(0)

    def app_is(self, there: bool) -> None:
        for phone, number in zip(self.site.phones(), range(3), strict=True):
            self.must((f"package:{self.package}" in self.packages(number)) == there, f"the app of phone {number}")
            if there:
                data = self.site.pull(phone, f"/data/data/{self.package}/f")
                self.must(data == CONTENTS, f"the app's data in phone {number}")

    def files_are(self, there: bool) -> None:
        for phone in self.site.phones():
            found = self.site.text(phone, f"find /data/share_me/{self.mark} -type f 2>/dev/null").split()
            self.must(found == ([self.path] if there else []), f"shared files: {found}")
            self.must(not there or self.site.pull(phone, self.path) == CONTENTS, "a shared file is not what was pushed")


class PushShareApp(_Share):
    kind = "push_share_app"

    def accept(self) -> None:
        self.push_app()

    def check(self, jobs: Sequence[JobRow], *, gentle: bool) -> None:
        if self.done(jobs):
            self.app_is(True)

    def clean(self) -> None:
        self.delete_app()
        self.ended()
        self.app_is(False)


class DeleteShareApp(_Share):
    kind = "delete_share_app"

    def prepare(self) -> None:
        self.push_app()
        self.ended()

    def accept(self) -> None:
        self.delete_app()

    def check(self, jobs: Sequence[JobRow], *, gentle: bool) -> None:
        if self.done(jobs):
            self.app_is(False)

    def clean(self) -> None:
        self.delete_app()
        self.ended()


class PushShareFiles(_Share):
    kind = "push_share_files"

    def accept(self) -> None:
        self.push_files()

    def check(self, jobs: Sequence[JobRow], *, gentle: bool) -> None:
        if self.done(jobs):
            self.files_are(True)

    def clean(self) -> None:
        self.delete_files()
        self.ended()
        self.files_are(False)


class DeleteShareFiles(_Share):
    kind = "delete_share_files"

    def prepare(self) -> None:
        self.push_files()
        self.ended()

    def accept(self) -> None:
        self.delete_files()

    def check(self, jobs: Sequence[JobRow], *, gentle: bool) -> None:
        if self.done(jobs):
            self.files_are(False)

    def clean(self) -> None:
        self.delete_files()
        self.ended()


class ListShareFiles(_Share):
    kind = "list_share_files"
    inside = False

    def prepare(self) -> None:
        self.push_files()
        self.ended()

    def accept(self) -> None:
        path = f"%2Fdata%2Fshare_me%2F{self.mark}"
        self.site.ask("GET", f"{V1}/servers/share-files?server_ids={self.site.home}&path={path}&offset=0&limit=50")

    def check(self, jobs: Sequence[JobRow], *, gentle: bool) -> None:
        (job,) = [job for job in jobs if job.kind == self.kind]
        (line,) = json.loads(job.execute_msg or "{}")["files_in_path"]["files"]
        self.must(line.split()[0::4] == [str(len(CONTENTS)), "f"], f"{job}")

    def clean(self) -> None:
        self.delete_files()
        self.ended()


DATA: tuple[type[Scenario], ...] = (
    Shell,
    ShellRefused,
    Push,
    Install,
    InstallMultiple,
    Uninstall,
    ExportPhone,
    ImportPhone,
    ExpandPhone,
    PushShareApp,
    DeleteShareApp,
    PushShareFiles,
    DeleteShareFiles,
    ListShareFiles,
)
#: every way to come to the steps of a kind; add a class here when you add a kind
SCENARIOS = {
    kind: [one for one in (*SERVERS, *DATA) if one.kind == kind] for kind in dict.fromkeys(one.kind for one in (*SERVERS, *DATA))
}
