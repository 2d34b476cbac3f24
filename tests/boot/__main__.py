"""
`make boot`: a stranger's fresh Debian, from its first command to a service that was upgraded and removed.

Nothing stands in for anything: debootstrap makes the machine, systemd boots it, `make demo` and `deploy/install` are run as the documents
say, and the hardened unit is started, reloaded, killed, frozen, upgraded, taken back and removed. On a second machine the Debian package is
installed, a receiver added, a backup restored, and the database moved to PostgreSQL, with the commands of the documents. At the end the
container image is built and run, where there is podman. Takes twenty minutes, root, and Debian's `debootstrap` and `systemd-container`; so
it is no part of `make test`.

Arguments choose parts, or steps with those that build or install what they need; the package that `machine.package` built is kept:
`make boot ARGS="machine.package machine.follow_install machine.follow_removal image"`.
"""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.boot.container import Container, Failed, missing_tools, run
from tests.boot.image import Image, lacks_podman
from tests.boot.pasting import Person, blocks_below
from tests.e2e.processes import Receiver, Simulator, control_port, fetch, free_port, scrape

ROOT = Path(__file__).parents[2]
FOLDER = Path("/var/tmp/postpost-monitor-boot")
SOURCE, DIST = FOLDER / "source", FOLDER / "dist"
"""The checkout as it is; what the first machine built from it."""
WEB = "http://127.0.0.1:9840"
CONFIG = "/etc/postpost-monitor/config.yaml"
THREADS = "threads-17841412345678"
LINKEDIN = "linkedin-Tz9W5i6ZYG"
MASTODON = "mastodon-109876543210"
FROZEN_SECONDS = 150.0
"""WatchdogSec, the time until it is noticed, and the restart."""

SIMULATED = """\
api: {{base_url: "{api}/api/v1"}}
schedule: {{interval: 2s, recheck: 1s}}
monitor: {{runbook_url: "https://wiki.example.org/alerts"}}
"""

RECEIVERS = """\
receivers:
  - {{name: on-call, url: "{hook}/hook"}}
"""


class Story:
    """One machine, the simulated API and receiver beside it, and the steps of its life in order."""

    folder = "/root/main"
    """Where commands are typed."""

    def __init__(self, machine: Container, simulator: Simulator, receiver: Receiver, key: str) -> None:
        self.machine = machine
        self.simulator = simulator
        self.receiver = receiver
        self.key = key
        self.person = Person(machine, self.folder)
        self.person.will_type("api-key", key + "\n")

    def steps(self) -> list[Callable[[], None]]:
        """Everything that happens, in order."""
        return [
            self.demo,
            self.follow_readme,
            self.package,
            self.follow_install,
            self.follow_rules,
            self.hardening,
            self.alert,
            self.reload,
            self.kill,
            self.freeze,
            self.install_again,
            self.follow_upgrade,
            self.failed_upgrade,
            self.follow_removal,
        ]

    def demo(self) -> None:
        """README's first command shows the whole story on the new machine."""
        said = self.machine.run("cd /root/main && make demo ARGS=--once")
        for event in ("connection.failed", "connection.recovered", "token.expiring", "token.renewed"):
            _must(event in said, f"the demo tells of {event}", said)

    def follow_readme(self) -> None:
        """Watch your own connections: README's commands, in the foreground, check every connection."""
        # The one thing that is not in the documents: the address of the simulator.
        file = f"{SIMULATED.format(api=self.simulator.url)}accounts: [{{name: main, api_key: '${{POSTPOST_API_KEY}}'}}]\n"
        self.machine.run("mkdir --mode=0700 /root/run")
        (self.machine.root / "root/run/config.yaml").write_text(f"{file}database: {{url: 'sqlite:////root/run/monitor.db'}}\n")
        run, where = ".venv/bin/python -m monitor run", "export POSTPOST_MONITOR_CONFIG=/root/run/config.yaml"
        instead = {"sk_...": self.key, run: f"{where}; timeout --preserve-status 30 {run}"}
        self.person.follow("README.md", "Watch your own connections", which=slice(1), instead=instead)
        said = self.machine.run(f"cd /root/main; {where}; POSTPOST_API_KEY={self.key} {run.removesuffix('run')} status")
        _must(LINKEDIN in said, "the connections are known", said)
        self.machine.run("rm --recursive /root/run")

    def package(self) -> None:
        """`make deb` builds the Debian package, the same one twice, and lintian has nothing to say about it."""
        self.machine.run("apt-get update && apt-get install --yes --no-install-recommends dpkg-dev debhelper lintian python3-venv sudo")
        self.machine.run("cd /root/main && make deb && cp -r dist first && .ci/deb dist && cmp first/*.deb dist/*.deb")

    def follow_install(self) -> None:
        """As a systemd service: what install.md says ends with a running service that checks every connection."""
        said = self._follow_start("As a systemd service, from a checkout", RECEIVERS.format(hook=self.receiver.url))
        _must("systemctl enable --now postpost-monitor" in said, "the installer names the next step", said)

    def _follow_start(self, heading: str, more: str = "") -> str:
        # The one thing that is not in the documents: the addresses of the simulator and its receiver.
        self.person.will_append(CONFIG, SIMULATED.format(api=self.simulator.url) + more)
        said = self.person.follow("docs/tutorial/install.md", heading, which=slice(1))
        self.person.will_append_nothing()
        self._until_checks()
        _must("12 connections" in self._status(), "the status line counts", self._status())
        return said

    def _until_checks(self) -> None:
        self.machine.until("checks", lambda: scrape(WEB).get("postpost_connection_up", platform_id=THREADS) == 1.0)

    def follow_rules(self) -> None:
        """Prometheus: the commands of install.md print rules that promtool accepts, each with an absolute link to its runbook."""
        self.machine.run("apt-get install --yes --no-install-recommends prometheus")
        self.person.follow("docs/tutorial/install.md", "Prometheus, Alertmanager, Grafana")
        self.machine.run("systemctl disable --now prometheus; cd /root/main && promtool check rules postpost-monitor.rules.yml")
        rules = (self.machine.root / "root/main/postpost-monitor.rules.yml").read_text()
        _must(
            rules.count("runbook_url: https://wiki.example.org/alerts#") == rules.count("- alert: ") > 0, "each alert has its link", rules
        )

    def hardening(self) -> None:
        """The process has no capability, no new privileges and a system call filter; its files are its own."""
        facts = self.machine.run("cat /proc/$(systemctl show -p MainPID --value postpost-monitor)/status")
        for line in ("CapEff:\t0000000000000000", "NoNewPrivs:\t1", "Seccomp:\t2"):
            _must(line in facts, line, facts)
        modes = self.machine.run("stat -c '%a %U' /var/lib/postpost-monitor /var/lib/postpost-monitor/monitor.db")
        _must(modes.split("\n")[:2] == ["700 postpost-monitor", "600 postpost-monitor"], "modes", modes)

    def alert(self) -> None:
        """A connection that breaks is told through the unit's walls, and its end too."""
        self._break_and_heal(THREADS)

    def _break_and_heal(self, connection: str) -> None:
        before = self.receiver.types().count("connection.failed")
        self.simulator.do(f"connections/{connection}/break", {"message": "Token has been revoked"})
        self.machine.until("the alert", lambda: self.receiver.types().count("connection.failed") > before)
        self.simulator.do(f"connections/{connection}/heal")
        self.machine.until("its end", lambda: self.receiver.types()[-1:] == ["connection.recovered"])

    def reload(self) -> None:
        """`systemctl reload` fails for a bad file, which changes nothing; a good one is taken over; neither ends the process."""
        pid = self._pid()
        self.machine.run("echo 'nonsense: 1' > /etc/postpost-monitor/config.d/bad.yaml")
        refused = self.machine.run(
            "if systemctl reload postpost-monitor; then echo taken over; fi; journalctl --unit postpost-monitor", check=False
        )
        _must("taken over" not in refused and "config.d/bad.yaml:1" in refused, "the reload fails, and says where", refused)
        _must(scrape(WEB).get("postpost_monitor_config_last_reload_successful") == 0.0, "the gauge tells it")
        errors = self.machine.run("journalctl --unit postpost-monitor --priority err")
        _must("config.rejected" in errors and '"level": "info"' not in errors, "the journal knows the priority of each line", errors)
        self.machine.run("rm /etc/postpost-monitor/config.d/bad.yaml; systemctl reload postpost-monitor")
        self.machine.until("the good file", lambda: scrape(WEB).get("postpost_monitor_config_last_reload_successful") == 1.0)
        _must(self._pid() == pid, "it is the same process")

    def kill(self) -> None:
        """After kill -9 systemd starts it again, and its gauges are right from the first scrape."""
        pid = self._pid()
        self.machine.run("systemctl kill --signal=KILL postpost-monitor")
        self.machine.until("a new process", lambda: self._is_active() and self._pid() != pid)
        _must(scrape(WEB).get("postpost_connection_up", platform_id=THREADS) == 1.0, "the gauge is right at once")

    def freeze(self) -> None:
        """A process that stands still is ended by systemd's watchdog and started again."""
        pid = self._pid()
        self.machine.run(f"kill -STOP {pid}")
        self.machine.until("the watchdog", lambda: self._is_active() and self._pid() != pid, within=FROZEN_SECONDS)

    def install_again(self) -> None:
        """Installing what is installed changes nothing and disturbs nobody."""
        pid = self._pid()
        said = self.machine.run("cd /root/main && deploy/install")
        _must("is what is installed already" in said, "it says so", said)
        _must(self._pid() == pid, "the service was left alone")

    def follow_upgrade(self) -> None:
        """Upgrade: with the command of upgrade.md a later release takes over the running service; the database was copied before."""
        self._release("9.0.0")
        self.person.follow("docs/how-to/upgrade.md", "Upgrade")
        _must(scrape(WEB).get("postpost_monitor_build_info", version="9.0.0") == 1.0, "the new release runs")
        _must("before-9.0.0" in self.machine.run("ls /var/lib/postpost-monitor/backups"), "there is a copy")

    def failed_upgrade(self) -> None:
        """A release that does not start is taken back, its unit too; the one before runs again."""
        self._release("9.1.0")
        self.machine.run("cd /root/main && sed -i '1i raise SystemExit(1)' monitor/cli/run.py")
        self.machine.run("cd /root/main && echo '# of 9.1.0' >> deploy/systemd/postpost-monitor.service")
        said = self.machine.run("cd /root/main && deploy/install", check=False)
        _must("taken back" in said, "it says so", said)
        _must("9.1.0" not in self.machine.run("systemctl cat postpost-monitor"), "the unit is the one before")
        self.machine.until("the old release", lambda: scrape(WEB).get("postpost_monitor_build_info", version="9.0.0") == 1.0)

    def follow_removal(self) -> None:
        """To remove: the commands of install.md leave no trace."""
        self.person.follow("docs/tutorial/install.md", "As a systemd service, from a checkout", which=slice(1, 2))
        left = self.machine.run("find / -xdev -name '*postpost*' -not -path '/root/*' -not -path '/var/log/*' -not -path '/proc/*'")
        _must(left.split() == [], "nothing is left", left)
        _must("postpost" not in self.machine.run("getent passwd; getent group"), "nor is its user")

    def _release(self, version: str) -> None:
        self.machine.run(f"""cd /root/main && sed -i 's/^__version__ = .*/__version__ = "{version}"/' monitor/__init__.py""")

    def _pid(self) -> str:
        return self.machine.run("systemctl show --property=MainPID --value postpost-monitor").strip()

    def _status(self) -> str:
        return self.machine.run("systemctl show --property=StatusText --value postpost-monitor")

    def _is_active(self) -> bool:
        active = self.machine.run("systemctl is-active postpost-monitor", check=False).strip() == "active"
        return active and bool(fetch(f"{WEB}/-/ready"))


class Packaged(Story):
    """Another machine, on which the documents are followed word by word: package, receiver, restore, PostgreSQL, standby, silences."""

    folder = "/root"

    def steps(self) -> list[Callable[[], None]]:
        """Everything that happens, in order."""
        return [
            self.prepare,
            self.follow_package,
            self.follow_receiver,
            self.alert,
            self.root_and_others,
            self.reload,
            self.follow_backup,
            self.follow_restore,
            self.follow_postgresql,
            self.follow_dump,
            self.follow_standby,
            self.alert_from_postgresql,
            self.follow_routes,
            self.follow_silences,
            self.follow_acknowledgements,
            self.follow_permissions,
            self.follow_sql,
            self.upgrade_package,
            self.purge,
        ]

    def prepare(self) -> None:
        """What a machine that is not made of the fewest packages has: sudo, and lists of packages."""
        self.machine.run("apt-get update && apt-get install --yes --no-install-recommends sudo")
        self.person.will_type("on-call-url", self.receiver.url + "/hook\n")

    def follow_package(self) -> None:
        """As a Debian package: what install.md says ends with a running service that checks every connection."""
        self._follow_start("As a Debian package")

    def follow_receiver(self) -> None:
        """Tell somebody: the receiver that install.md adds gets a test."""
        said = self.person.follow("docs/tutorial/install.md", "Tell somebody")
        _must("test" in self.receiver.types(), "the test arrives", said)

    def root_and_others(self) -> None:
        """Root checks a file that only root can read; others are told to use sudo."""
        self.machine.run("install -m 0600 /etc/postpost-monitor/config.yaml /root/new.yaml")
        _must("/root/new.yaml: valid" in self.machine.run("sudo postpost-monitor config check /root/new.yaml"), "the file of root is valid")
        rules = self.machine.run("sudo postpost-monitor config rules")
        _must("alert: PostpostConnectionDown" in rules, "the rules are printed", rules)
        for verb in ("config check", "status", "db check"):
            said = self.machine.run(f"runuser -u nobody -- postpost-monitor {verb}", check=False)
            _must("sudo" in said and "Traceback" not in said, f"{verb} names sudo", said)

    def follow_backup(self) -> None:
        """Back up, check: what upgrade.md says makes a copy of the database in use."""
        self.person.follow("docs/how-to/upgrade.md", "Back up")
        _must("sound" in self.person.follow("docs/how-to/upgrade.md", "Check", which=slice(1)), "the database is sound")

    def follow_restore(self) -> None:
        """Restore: what upgrade.md says brings the copy back, and the service goes on with it."""
        _must("sound" in self.person.follow("docs/how-to/upgrade.md", "Restore"), "the copy is sound")
        self._until_checks()

    def follow_postgresql(self) -> None:
        """Move from SQLite: what postgresql.md says moves everything, and the service goes on in PostgreSQL."""
        said = self.person.follow("docs/how-to/postgresql.md", "Move from SQLite")
        _must("found them equal" in said, "the copy is compared", said)
        count = "runuser -u postgres -- psql --tuples-only --dbname=postpost-monitor --command='SELECT count(*) FROM checks'"
        copied = int(self.machine.run(f"cd /; {count}"))
        _must(copied > 12, "the history is there", str(copied))
        self.machine.until("checks in PostgreSQL", lambda: int(self.machine.run(f"cd /; {count}")) > copied)

    def follow_dump(self) -> None:
        """Back up PostgreSQL: what postgresql.md says makes a dump."""
        self.person.follow("docs/how-to/postgresql.md", "Back up, restore, look after")
        self.machine.run("test -s /var/lib/postgresql/monitor.dump")

    def follow_standby(self) -> None:
        """A standby: with the commands of cluster.md the one that is there is the active one, and comes back after it was replaced."""
        self.machine.run(f"echo 'cluster: {{mode: standby}}' >> {CONFIG}")
        self.person.follow("docs/how-to/cluster.md", "A standby in ten minutes")
        self.machine.until("active", lambda: scrape(WEB).get("postpost_monitor_active") == 1.0)
        unit = self.machine.run("systemctl show --property=RestartPreventExitStatus postpost-monitor")
        _must("75" not in unit, "exit code 75 does not end it", unit)

    def alert_from_postgresql(self) -> None:
        """Another connection that breaks is told as well, and its end too."""
        self._break_and_heal(MASTODON)

    def follow_routes(self) -> None:
        """Routes: the commands of operate.md say who would be notified, and test a receiver."""
        before = self.receiver.types().count("test")
        own = {" --label team=social": "", "receivers test chat": "receivers test on-call"}
        said = self.person.follow("docs/how-to/operate.md", "Routes", instead=own)
        _must("on-call" in said and self.receiver.types().count("test") > before, "it is named and tested", said)

    def follow_silences(self) -> None:
        """Silences: those that operate.md adds are listed, and the third one is ended."""
        said = self.person.follow("docs/how-to/operate.md", "Silences", which=slice(1))
        _must("their maintenance" in said, "they are listed", said)

    def follow_acknowledgements(self) -> None:
        """Acknowledgements: with the commands of operate.md, and the key of the message, the incident is acknowledged."""
        before = self.receiver.types().count("connection.failed")
        self.simulator.do(f"connections/{LINKEDIN}/break", {"message": "Token has been revoked"})
        self.machine.until("the alert", lambda: self.receiver.types().count("connection.failed") > before)
        key = str(self.receiver.received()[-1]["document"]["data"]["incident"]["key"])
        said = self.person.follow("docs/how-to/operate.md", "Acknowledgements", instead={"pp-6c1f2a90-17-connection-3": key})
        _must(said.count(f"Acknowledged: {key}") == 2, "by key and by id", said)
        self.simulator.do(f"connections/{LINKEDIN}/heal")
        self.machine.until("its end", lambda: self.receiver.types()[-1:] == ["connection.recovered"])

    def follow_permissions(self) -> None:
        """Accept lost permissions: with the command of operate.md the incident of a permission that was taken away ends."""
        self.simulator.do(f"connections/{LINKEDIN}/permissions", {"remove": ["w_member_social"]})
        self.machine.until("the loss", lambda: "permissions.lost" in self.receiver.types())
        self.person.follow("docs/how-to/operate.md", "Accept lost permissions")
        self.machine.until("its end", lambda: "permissions.restored" in self.receiver.types())

    def follow_sql(self) -> None:
        """A server on another machine: the statements of postgresql.md make a database, and give a role what it needs."""
        psql = "cd /; runuser -u postgres -- psql --set=ON_ERROR_STOP=1 --dbname"
        create, *grants = blocks_below("docs/how-to/postgresql.md", "A server on another machine", "sql")
        self.machine.run(f"{psql}=postgres <<'END'\n{create}END")
        self.machine.run("runuser -u postgres -- pg_restore --no-owner --dbname=postpost /var/lib/postgresql/monitor.dump")
        self.machine.run(f"{psql}=postgres --command='CREATE ROLE monitor'")
        for grant in grants:
            self.machine.run(f"{psql}=postpost <<'END'\n{grant}END")
        owner = self.machine.run(
            f"""{psql}=postpost --tuples-only --command="SELECT tableowner FROM pg_tables WHERE tablename = 'checks'" """
        )
        _must(owner.strip() == "monitor", "the history is the role's", owner)

    def upgrade_package(self) -> None:
        """A later package restarts the running service and leaves the configuration as it is."""
        self.machine.run(
            "cd /root && dpkg-deb --raw-extract postpost-monitor_*.deb later && sed -i 's/^Version: .*/Version: 9.0.0/' later/DEBIAN/control"
            """ && sed -i 's/^__version__ = .*/__version__ = "9.0.0"/' later/usr/lib/postpost-monitor/lib/python3*/site-packages/monitor/__init__.py"""
            " && dpkg-deb -Zgzip --build later later.deb && apt-get install --yes ./later.deb"
        )
        self.machine.until("the later release", lambda: scrape(WEB).get("postpost_monitor_build_info", version="9.0.0") == 1.0)
        _must("on-call" in self.machine.run("cat /etc/postpost-monitor/config.yaml"), "the configuration is kept")

    def purge(self) -> None:
        """Removing keeps what people made; purging leaves nothing."""
        self.machine.run("apt-get remove --yes postpost-monitor && test -s /etc/postpost-monitor/credentials/api-key")
        _must(not self._is_active(), "the service is stopped")
        self.machine.run("apt-get purge --yes postpost-monitor")
        left = self.machine.run("find / -xdev -name '*postpost*' -not -path '/root/*' -not -path '/var/log/*' -not -path '/proc/*'")
        _must(left.split() == [], "nothing is left", left)
        _must("postpost" not in self.machine.run("getent passwd; getent group"), "nor is its user")


def _must(holds: bool, what: str, evidence: str = "") -> None:
    if not holds:
        raise Failed(f"not so: {what}\n{evidence}")


@contextmanager
def _world(folder: Path) -> Iterator[tuple[Simulator, Receiver, str]]:
    """A simulated PostPost and a receiver on this machine; with the API key."""
    port, log = free_port(), folder / "simulator.log"
    command = [sys.executable, "-m", "monitor", "simulate", "--port", "0", "--receiver-port", str(port)]
    with log.open("w") as out:
        process = subprocess.Popen(command, cwd=ROOT, stdout=out, stderr=out)
    try:
        while "_sim/" not in log.read_text() or "key " not in log.read_text():
            time.sleep(0.1)
        text = log.read_text()
        key = next(line.split()[1] for line in text.splitlines() if line.strip().startswith("key "))
        yield Simulator(f"http://127.0.0.1:{control_port(text)}"), Receiver(f"http://127.0.0.1:{port}"), key
    finally:
        process.terminate()
        process.wait()


def _copy_source(target: Path) -> None:
    """The checkout, committed or not, as a clone would bring it."""
    target.mkdir()
    listing = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(listing, cwd=ROOT, check=True, capture_output=True).stdout
    pack = ["tar", "--create", "--null", "--files-from=-"]
    packed = subprocess.run(pack, cwd=ROOT, check=True, capture_output=True, input=names).stdout
    subprocess.run(["tar", "--extract", f"--directory={target}"], check=True, input=packed)


def main(chosen: list[str]) -> int:
    """Run the story, or what is *chosen* of it; the exit status is 1 when a step fails and 2 when this machine can't run it."""
    missing = missing_tools()
    if os.geteuid() != 0 or missing:
        print(f"`make boot` needs root, and: apt-get install {' '.join(missing or ['debootstrap', 'systemd-container'])}", file=sys.stderr)
        return 2
    parts = {"machine": _live_on_machine, "packaged": _live_packaged, "image": _live_in_image}
    wanted = [name for name in parts if not chosen or any(word.split(".")[0] == name for word in chosen)]
    if not wanted:
        print(f"the parts are: {', '.join(parts)}", file=sys.stderr)
        return 2
    shutil.rmtree(SOURCE, ignore_errors=True)
    _copy_source(SOURCE)
    for name in wanted:
        print(f"{name}:", flush=True)
        if not parts[name]([word.partition(".")[2] for word in chosen if word.startswith(f"{name}.")]):
            return 1
    print("all as it should be")
    return 0


def _live_on_machine(chosen: list[str]) -> bool:
    """Whether every step on the first machine succeeds; what it builds is kept."""
    machine = Container(FOLDER)
    machine.make()
    source = machine.root / "root/main"
    shutil.copytree(SOURCE, source, symlinks=True)
    if not _live(machine, Story, chosen):
        return False
    if (source / "dist").exists():
        shutil.rmtree(DIST, ignore_errors=True)
        shutil.copytree(source / "dist", DIST)
    return True


def _live_packaged(chosen: list[str]) -> bool:
    """Whether every step on the machine with the Debian package succeeds."""
    machine = Container(FOLDER, "packaged")
    machine.make()
    for package in DIST.glob("*.deb"):
        shutil.copy(package, machine.root / "root")
    return _live(machine, Packaged, chosen)


def _live(machine: Container, story: type[Story], chosen: list[str]) -> bool:
    """Whether every step of the *story* of *machine* succeeds."""
    with tempfile.TemporaryDirectory() as folder, _world(Path(folder)) as (simulator, receiver, key):
        try:
            machine.boot()
            return _all(story(machine, simulator, receiver, key).steps(), chosen, machine.log)
        finally:
            machine.power_off()


def _live_in_image(chosen: list[str]) -> bool:
    """Whether every step of the life of the image succeeds."""
    if lacks_podman():
        print("without podman the container image is not built: apt-get install podman")
        return True
    run([str(SOURCE / ".ci/dist"), sys.executable, str(SOURCE / "dist")])
    with tempfile.TemporaryDirectory() as folder, _world(Path(folder)) as (simulator, receiver, key):
        image = Image(FOLDER, SOURCE, simulator, receiver, key)
        try:
            return _all(image.steps(), chosen, image.log)
        finally:
            image.remove()


def _all(steps: list[Callable[[], None]], chosen: list[str], log: Callable[[], str]) -> bool:
    """Whether every step, or every *chosen* one, succeeds; each is named with the time that it took."""
    try:
        for step in steps:
            if chosen and step.__name__ not in chosen:
                continue
            started = time.monotonic()
            step()
            print(f"{time.monotonic() - started:6.1f} s  {step.__name__:<17} {(step.__doc__ or '').strip()}", flush=True)
    except Failed as failure:
        print(failure, log(), sep="\n", file=sys.stderr)
        return False
    return True


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
