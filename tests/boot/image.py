"""The container image: built twice by podman, compared, and run as deploy/compose.yaml says."""

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import yaml

from tests.boot.container import Failed, fresh_debian, kept_environment, run, until
from tests.boot.pasting import blocks_below
from tests.e2e.processes import Metrics, Receiver, Simulator, fetch

WEB = "http://127.0.0.1:9840"
BASE = "python:3.13-slim"
EPOCH = "1767225600"
NAME = "monitor"


def lacks_podman() -> bool:
    """Whether this machine can't build images."""
    return shutil.which("podman") is None


class Image:
    """
    The steps of the image's life, in order, from the checkout *source* and the archive in its `dist`.

    No image is fetched: a Debian that has the same Python stands in for the base image.
    """

    def __init__(self, folder: Path, source: Path, simulator: Simulator, receiver: Receiver, key: str) -> None:
        self._folder = folder
        self._source = source
        self._simulator = simulator
        self._receiver = receiver
        self._key = key
        # Images of its own, in place of this machine's. crun knows no mixed control groups.
        runtime = ["--runtime=runc"] if shutil.which("runc") else []
        places = [f"--root={folder}/images", f"--runroot={folder}/images-run", "--storage-driver=overlay"]
        self._podman = ["podman", *places, *runtime, "--cgroup-manager=cgroupfs"]

    def steps(self) -> list[Callable[[], None]]:
        """Everything that happens, in order."""
        return [self.base, self.build, self.start, self.healthy, self.stop]

    def base(self) -> None:
        """A Debian stands in for the base image."""
        debian = fresh_debian(self._folder, "trixie", "ca-certificates,python3,python3-venv")
        (debian / "usr/bin/python").unlink(missing_ok=True)
        (debian / "usr/bin/python").symlink_to("python3")
        archive = self._folder / "base.tar"
        run(["tar", "--create", f"--directory={debian}", f"--file={archive}", "."])
        changes = [f"--change=ENV {setting}" for setting in kept_environment()]
        self._run("import", *changes, str(archive), f"localhost/{BASE}")
        archive.unlink()

    def build(self) -> None:
        """From the checkout, and from the archive of `make dist` alone: every layer of the two images has the same bytes."""
        self._build("checkout", self._source)
        (archive,) = (self._source / "dist").glob("*-image.tar.gz")
        unpacked = self._folder / "unpacked"
        shutil.rmtree(unpacked, ignore_errors=True)
        unpacked.mkdir()
        run(["tar", "--extract", f"--file={archive}", f"--directory={unpacked}"])
        self._build("archive", unpacked)
        one, two = (
            self._run("image", "inspect", "--format={{json .RootFS.Layers}} {{json .Config}}", tag) for tag in ("checkout", "archive")
        )
        if one != two:
            raise Failed(f"two builds differ:\n{one}{two}")

    def start(self) -> None:
        """The commands of install.md make the secrets; with them the service of compose.yaml starts and checks every connection."""
        (block,) = blocks_below("docs/tutorial/install.md", "In containers")
        script = "".join(line for line in block.splitlines(keepends=True) if not line.startswith("docker "))
        typed = f"{self._key}\n{self._receiver.url}/hook\n"
        subprocess.run(["bash", "-euc", script], input=typed, text=True, cwd=self._source, check=True)
        with (self._source / "deploy/docker/config.yaml").open("a") as config:
            # The one thing that is not in the documents: the address of the simulator.
            config.write(f'api: {{base_url: "{self._simulator.url}/api/v1"}}\n')
        self._run("run", "--detach", f"--name={NAME}", *self._options(), "checkout")
        until("checks", lambda: self._scrape().get("postpost_connection_up", platform_id="threads-17841412345678") == 1.0)

    def _options(self) -> list[str]:
        """What compose.yaml says about the monitor, in podman's words; on this machine's network, where the simulator is."""
        service = yaml.safe_load((self._source / "deploy/compose.yaml").read_text(encoding="utf-8"))["services"]["monitor"]
        mounts = [mount.replace("./", f"{self._source}/deploy/", 1) for mount in service["volumes"]]
        mounts += [f"{self._source}/deploy/secrets/{name}:/run/secrets/{name}:ro" for name in service["secrets"]]
        return [
            "--network=host",
            # The default is more than root may have in some containers.
            "--ulimit=nofile=4096:4096",
            "--ulimit=nproc=4096:4096",
            f"--read-only={str(service['read_only']).lower()}",
            f"--memory={service['mem_limit']}",
            *(f"--cap-drop={name}" for name in service["cap_drop"]),
            *(f"--security-opt={option.removesuffix(':true')}" for option in service["security_opt"]),
            *(f"--env={name}={value}" for name, value in service["environment"].items()),
            *(f"--tmpfs={path}" for path in service["tmpfs"]),
            *(f"--volume={mount}" for mount in mounts),
        ]

    def healthy(self) -> None:
        """Its health check succeeds; the process is a user without rights on a file system that can't be written."""
        until("health", self._is_healthy)
        facts = self._run("exec", NAME, "sh", "-c", "id -u; grep -E 'CapBnd|NoNewPrivs' /proc/1/status; touch /x 2>&1 || true")
        for fact in ("10001\n", "CapBnd:\t0000000000000000", "NoNewPrivs:\t1", "Read-only file system"):
            if fact not in facts:
                raise Failed(f"not so: {fact!r}\n{facts}")

    def _is_healthy(self) -> bool:
        try:
            self._run("healthcheck", "run", NAME)
        except Failed:
            return False
        return True

    def stop(self) -> None:
        """It ends by itself when it is asked to."""
        self._run("stop", "--time=45", NAME)
        code = self._run("inspect", "--format={{.State.ExitCode}}", NAME).splitlines()[-1]
        if code != "0":
            raise Failed(f"exit code {code}\n{self.log()}")

    def log(self) -> str:
        """The last lines of what it printed."""
        return self._run("logs", "--tail=40", NAME, check=False)

    def remove(self) -> None:
        """Nothing is left but the base."""
        self._run("rm", "--all", "--force", "--volumes", check=False)
        self._run("volume", "prune", "--force", check=False)
        self._run("rmi", "--all", "--force", check=False)

    def _run(self, *words: str, check: bool = True) -> str:
        return run([*self._podman, *words], check=check)

    def _build(self, tag: str, context: Path) -> None:
        times = [f"--build-arg=SOURCE_DATE_EPOCH={EPOCH}", f"--timestamp={EPOCH}"]
        options = ["--isolation=chroot", "--pull=never", "--no-cache", "--format=docker", f"--file={context}/deploy/Dockerfile"]
        self._run("build", *options, *times, f"--tag={tag}", str(context))

    def _scrape(self) -> Metrics:
        token = (self._source / "deploy/secrets/web-token").read_text()
        return Metrics(fetch(f"{WEB}/metrics", headers={"Authorization": f"Bearer {token}"}).decode())
